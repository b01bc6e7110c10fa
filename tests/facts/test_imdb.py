"""Claims about the films table: what is read of IMDb's tables, what is chosen, and how bad input ends."""

import gzip
import json
import sys
import tracemalloc
from http.server import SimpleHTTPRequestHandler

import pytest
from made_up_imdb import WANTED, run, sha256

from stages.facts.films import Film, read_films, write_films
from stages.facts.imdb import TABLES, genre_of, read_credits, read_table
from stages.fetch_films import films_of, main
from weightgraft.errors import UserError


@pytest.mark.parametrize("zipped", [True, False])
def test_a_film_has_the_fields_of_its_tables(imdb, tmp_path, zipped):
    paths = imdb.write(tmp_path, zipped)
    first, second = films_of(paths, **WANTED)
    assert first == Film("Alpha", "1999", "drama", "Ann One", "Bea Two", "Dora Direct", "Neo", "tt1", "900")
    assert second == Film(
        "Beta's Île", "1999", "", "Zoë O'Neil", "Jr. Sammy Fox", "Édith Rôle", "Neo", "tt2", "800"
    )
    assert films_of(paths, **WANTED | {"films": 3})[2].character == ""


def test_a_genre_is_the_first_that_the_templates_can_tell():
    assert [genre_of(genres) for genres in ("Action,Drama", "Action,Adventure", "", "Sci-Fi,War")] == [
        "drama", "", "", "sci-fi",
    ]  # fmt: skip


def test_the_films_table_comes_back_as_it_was_written(imdb, tmp_path):
    imdb.add("tt4", 'A "Quoted", Title', 600, ["Ida Eight", "Jon Nine"])
    films = films_of(imdb.write(tmp_path), **WANTED | {"films": 4})
    write_films(tmp_path / "films.csv", films)
    assert read_films(tmp_path / "films.csv") == films


def test_films_come_by_votes_and_ties_by_id(imdb, tmp_path):
    imdb.add("tt0", "Zeta", 700, ["Ida Eight", "Jon Nine"])
    films = films_of(imdb.write(tmp_path), **WANTED | {"films": 4})
    assert [film.tconst for film in films] == ["tt1", "tt2", "tt0", "tt3"]


def test_the_first_two_actors_by_ordering_count_and_people_as_themselves_do_not(imdb, tmp_path):
    cast = [
        ("Host Self", "self"),
        ("Pia Ten", "actress"),
        ("Wim Writer", "writer"),
        "Qi Eleven",
        "Rob Twelve",
    ]
    imdb.add("tt9", "Omega", 5000, cast)
    principals = imdb.rows["title_principals"]
    principals.append(["tt9", "3", imdb.person("Pia Ten"), "actor", r"\N", r"\N"])  # listed twice
    (film,) = films_of(imdb.write(tmp_path), **WANTED | {"films": 1})
    assert (film.first_actor, film.second_actor) == ("Pia Ten", "Qi Eleven")


def test_orderings_are_numbers_so_ten_comes_after_nine(imdb, tmp_path):
    imdb.rows["title_principals"] = [
        ["tt1", "10", imdb.person("Ann One"), "actor", r"\N", r"\N"],
        ["tt1", "9", imdb.person("Bea Two"), "actress", r"\N", r"\N"],
    ]
    found = read_credits(imdb.write(tmp_path)["title_principals"], {"tt1"})["tt1"]
    assert [credit.nconst for credit in found] == [imdb.person("Bea Two"), imdb.person("Ann One")]


CAST = ["Ida Eight", "Jon Nine"]
UNFIT = {
    "no movies": {"kind": "tvSeries"},
    "for adults": {"adult": "1"},
    "without title or year": {"year": r"\N"},
    "without two actors": {"cast": ["Ida Eight", ("Jon Nine", "self")]},
    "without a director": {"director": None},
    "with one person in two places": {"director": "Jon Nine"},
    "with an actor whose name begins with no letter": {"cast": ["Ida Eight", "50 Cent"]},
    "with a title or an actor that ends in a mark": {"cast": ["Ida Eight", "Jon Nine Jr."]},
    "named after one of their actors": {"title": "Being Jon Nine Now"},
    "with the title of a film with more votes": {"title": "ALPHA"},
    "with an actor of a chosen film with more votes": {"cast": ["Ida Eight", "Bea Two"]},
}


@pytest.mark.parametrize("reason", UNFIT)
def test_a_film_that_does_not_fit_is_left_out_and_counted(imdb, tmp_path, reason):
    imdb.add(**{"tconst": "tt8", "title": "Omega", "votes": 750, "cast": CAST} | UNFIT[reason])
    paths = imdb.write(tmp_path)
    films = films_of(paths, **WANTED | {"films": 3})
    assert [film.tconst for film in films] == ["tt1", "tt2", "tt3"]
    with pytest.raises(UserError) as caught:
        films_of(paths, **WANTED | {"films": 4})
    assert (
        f"films is 4; 3 films fit, of 4 titles that have fetch_films.min_votes. Dropped: 1 {reason}"
        in str(caught.value)
    )
    assert "\n" not in str(caught.value)


def test_the_same_film_without_its_fault_is_chosen(imdb, tmp_path):
    imdb.add("tt8", "Omega", 750, CAST)
    assert "tt8" in [film.tconst for film in films_of(imdb.write(tmp_path), **WANTED | {"films": 4})]


def test_two_people_of_one_name_count_as_one(imdb, tmp_path):
    imdb.add("tt8", "Omega", 750, ["Ann One#the younger", "Ida Eight"])
    assert imdb.person("Ann One") != imdb.person("Ann One#the younger")
    assert "tt8" not in [film.tconst for film in films_of(imdb.write(tmp_path), **WANTED | {"films": 3})]


def test_final_marks_are_kept_where_they_are_asked_for(imdb, tmp_path):
    imdb.add("tt8", "Omega!", 5000, ["Ida Eight", "Jon Nine Jr."])
    (film,) = films_of(imdb.write(tmp_path), films=1, min_votes=100, final_marks=True)
    assert (film.title, film.second_actor) == ("Omega!", "Jon Nine Jr.")


def test_titles_of_few_votes_are_not_read(imdb, tmp_path):
    with pytest.raises(
        UserError, match=r"1 films fit, of 1 titles that have fetch_films.min_votes. Dropped: none"
    ):
        films_of(imdb.write(tmp_path), **WANTED | {"min_votes": 801})


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_column_is_named_with_the_file(imdb, tmp_path, name):
    paths = imdb.write(tmp_path, zipped=False)
    column = {"title_ratings": "numVotes", "name_basics": "primaryName"}.get(name, "tconst")
    paths[name].write_text(paths[name].read_text().replace(column, "other", 1))
    with pytest.raises(UserError, match=rf"{name}.tsv: no column {column}; it has .*other"):
        films_of(paths, **WANTED)


def test_a_truncated_gzip_file_is_an_error_wherever_it_ends(tmp_path):
    path = tmp_path / "table.tsv.gz"
    whole = gzip.compress("".join(f"tt{i}\t{i * i % 997}\n" for i in range(2000)).encode())
    for end in (12, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match=r"table.tsv.gz: the gzip file is truncated"):
            list(read_table(path, ["tt0"]))
    path.write_bytes(whole)
    assert len(list(read_table(path, ["tt0"]))) == 1999


def test_a_table_is_read_in_a_stream(tmp_path):
    path = tmp_path / "table.tsv.gz"
    path.write_bytes(gzip.compress(b"a\tb\n" + (b"x" * 200 + b"\ty\n") * 20_000))  # 4 MB
    tracemalloc.start()
    rows = sum(1 for _ in read_table(path, ["b"]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 20_000 and peak < 1_000_000  # bytes; a few hundred thousand are buffers


def test_damaged_files_are_errors_that_name_the_file(imdb, tmp_path):
    path = imdb.write(tmp_path)["title_ratings"]
    whole = path.read_bytes()
    text = gzip.decompress(whole)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])  # a wrong checksum
    with pytest.raises(UserError, match=r"title_ratings.tsv.gz: the gzip file is damaged"):
        list(read_table(path, ["tconst"]))
    for end, named in ((-2, "line 4: it has no end"), (-5, "line 4: 2 fields; the header has 3")):
        path.write_bytes(text[:end])
        with pytest.raises(UserError, match=named):
            list(read_table(path, ["tconst"]))
    path.write_bytes(text + b"tt4\t\xff\t3\n")
    with pytest.raises(UserError, match="not UTF-8"):
        list(read_table(path, ["tconst"]))


def test_a_field_may_hold_any_character_but_tab_and_newline(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_bytes('a\tb\n1\t"odd \u2028 \x0b \r field\n'.encode())
    assert list(read_table(path, ["b", "a"])) == [['"odd \u2028 \x0b \r field', "1"]]


def test_votes_that_are_no_number_are_an_error(imdb, tmp_path):
    imdb.rows["title_ratings"].append(["tt7", "1.0", "many"])
    with pytest.raises(UserError, match="numVotes of tt7 is 'many'; a whole number is needed"):
        films_of(imdb.write(tmp_path), **WANTED)


def test_the_command_reads_files_urls_and_checks_hashes(imdb, tmp_path, monkeypatch, server, capsys):
    paths = imdb.write(tmp_path / "served")
    hashes = {name: sha256(path) for name, path in paths.items()}
    from_files = run(monkeypatch, tmp_path, paths, hashes=hashes)
    assert not (tmp_path / "downloads").exists()
    urls = {name: f"{server}/{path.name}" for name, path in paths.items()}
    urls["name_basics"] = paths["name_basics"].as_uri()
    assert run(monkeypatch, tmp_path, urls) == from_files and len(from_files) == 2
    assert f"sha256 {hashes['name_basics']} (none was given)" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "downloads").iterdir()) == sorted(
        f"{name.replace('_', '.')}.tsv.gz" for name in TABLES
    )


def test_a_download_with_the_right_hash_is_not_fetched_again(imdb, tmp_path, monkeypatch, server):
    paths = imdb.write(tmp_path / "served")
    hashes = {name: sha256(path) for name, path in paths.items()}
    urls = {name: f"{server}/{path.name}" for name, path in paths.items()}
    films = run(monkeypatch, tmp_path, urls, hashes=hashes)
    for path in paths.values():
        path.unlink()
    assert run(monkeypatch, tmp_path, urls, hashes=hashes) == films
    with pytest.raises(UserError, match="HTTP 404"):
        run(monkeypatch, tmp_path, urls)


@pytest.mark.parametrize("where", ["file", "url"])
def test_a_wrong_hash_names_file_expected_and_found(imdb, tmp_path, monkeypatch, where):
    sources = imdb.write(tmp_path)
    found = sha256(sources["title_basics"])
    if where == "url":
        sources["title_basics"] = sources["title_basics"].as_uri()
    with pytest.raises(UserError, match=rf"title_basics.tsv.gz: .* expected {'0' * 64}, found {found}"):
        run(monkeypatch, tmp_path, sources, hashes={"title_basics": "0" * 64})
    left = list((tmp_path / "downloads").iterdir()) if where == "url" else []
    assert not left and not (tmp_path / "real").exists()


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("nowhere.tsv.gz", "nowhere.tsv.gz: no such file"),
        ("ftp://127.0.0.1/a.gz", "'ftp' cannot be read; valid: http, https, file, or a local file"),
        ("http://127.0.0.1:1/a.gz", "http://127.0.0.1:1/a.gz: cannot be read: .*refused"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(imdb, tmp_path, monkeypatch, source, named):
    with pytest.raises(UserError, match=named):
        run(monkeypatch, tmp_path, imdb.write(tmp_path) | {"title_principals": source})


def test_a_short_answer_is_an_error_and_leaves_nothing(imdb, tmp_path, monkeypatch, server):
    paths = imdb.write(tmp_path / "served")

    def half(self, source, outputfile):
        outputfile.write(source.read()[:50])

    monkeypatch.setattr(SimpleHTTPRequestHandler, "copyfile", half)
    with pytest.raises(UserError, match=rf"{server}/title_basics.tsv.gz: 50 of .* bytes came"):
        run(monkeypatch, tmp_path, paths | {"title_basics": f"{server}/title_basics.tsv.gz"})
    assert not list((tmp_path / "downloads").iterdir())


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("director", "maker", "no column director; it has"),
        ("Beta's Île", "alpha", "line 3: title 'alpha' is in line 2, too"),
        ("Zoë O'Neil", "Bea Two", "line 3: first_actor 'Bea Two' is in line 2, too"),
        ("Jr. Sammy Fox", "", "line 3: second_actor is empty"),
        ("1999", "soon", "line 2: year is 'soon'"),
        ("drama", "action", "line 2: genre is 'action'; .*no vowel"),
        (",900", "", "line 2: 8 cells; the header has 9"),
        ("Ann One", '"Ann" One', "line 2: ',' expected after"),
        ("Édith", "\udcc9dith", "films.csv: not UTF-8 text"),
    ],
)
def test_a_films_table_edited_wrongly_is_refused(imdb, tmp_path, old, new, named):
    path = tmp_path / "films.csv"
    write_films(path, films_of(imdb.write(tmp_path), **WANTED))
    path.write_text(path.read_text().replace(old, new), errors="surrogateescape")
    with pytest.raises(UserError, match=named):
        read_films(path)


def test_a_films_table_that_is_not_there_says_what_writes_it(tmp_path):
    with pytest.raises(UserError, match=r"films.csv: no such films table; .*fetch_films"):
        read_films(tmp_path / "films.csv")


def test_the_synthetic_world_needs_no_films(tmp_path, monkeypatch):
    (tmp_path / "settings.json").write_text(json.dumps({"world": "synthetic"}))
    out = tmp_path / "films.csv"
    arguments = ["--settings", tmp_path / "settings.json", "--downloads", tmp_path / "films", "--out", out]
    monkeypatch.setattr(sys, "argv", ["fetch_films", *map(str, arguments)])
    main()
    assert read_films(out) == [] and not (tmp_path / "films").exists()
