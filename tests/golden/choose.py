"""Which recorded exchanges become cases: few that differ, not many that are alike."""

from itertools import combinations

# Kinds that decide little by themselves: a pair of two of these is no reason for a further case.
PLAIN = {"text", "system", "tools", "tool_choice"}
LARGE = 40_000


def choose(fixtures, most):
    """The smallest set, greedily, that holds each kind, and then each pair of kinds, of each form of answer.

    Where the answer passes as it is, each kind once is enough.
    """
    groups = {}
    for fixture in fixtures:
        if fixture.upstream:
            key = (fixture.provider, fixture.operation, fixture.stream, fixture.status)
            groups.setdefault(key, []).append(fixture)
    chosen = []
    for group in groups.values():
        same = group[0].upstream == "openai_chat"
        chosen += cover(group, min(most, 10) if same else most, 1 if same else 2)
    return sorted(chosen, key=lambda fixture: fixture.name)


def cover(group, most, levels):
    def worth(fixture):
        single = {(kind,) for kind in fixture.kinds} | {()}
        pairs = {pair for pair in combinations(fixture.kinds, 2) if not set(pair) <= PLAIN}
        return single, pairs

    left = sorted(group, key=lambda fixture: (fixture.size(), fixture.name))
    if left[0].status >= 400:
        return left[:most]
    seen, chosen = set(), []
    for level in range(levels):
        while left and len(chosen) < most:
            best = max(left, key=lambda fixture: (len(worth(fixture)[level] - seen), -fixture.size()))
            if not worth(best)[level] - seen:
                break
            left.remove(best)
            for found in worth(best):
                seen |= found
            if best.size() < LARGE or level == 0 and best.size() < 3 * LARGE:
                chosen.append(best)
    return chosen
