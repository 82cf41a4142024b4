"""Whether two folders of a recipe are the same, byte for byte but for times."""

import json

TIMES = ("times.json", "times.jsonl")
TIMED_FIELDS = ("seconds", "examples_per_second", "time", "documents_per_second", "pairs_per_second")


def differences(one, other):
    """Give a line for every file that is in one folder only, or differs."""
    names = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (one, other)]
    found = [f"only in one of them: {name}" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        files = [folder / name for folder in (one, other)]
        if files[0].is_file() and name.name not in TIMES and content(files[0]) != content(files[1]):
            found.append(f"differs: {name}")
    return found


def content(file):
    """Give the bytes of a file, of a log what in its lines is no time."""
    if file.name != "log.jsonl":
        return file.read_bytes()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMED_FIELDS} for line in lines]
