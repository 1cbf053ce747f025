"""The Python of the runner, changed one thing at a time by the operators of Cosmic Ray, of the extra ``mutants``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import count

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

from tests.support.certificate import ROOT
from tests.support.mutation import INVENTORY, Mutant

#: Of its operators those that change what a line does; most of the others make code that no one would have written,
#: such as a text raised to a power, and every test would notice. (ExceptionReplacer cannot change ``psycopg.Error``.)
OPERATORS = (
    "AddNot", "NumberReplacer", "RemoveDecorator", "ReplaceAndWithOr",
    "ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Div_Mul", "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Sub_Add", "ReplaceBreakWithContinue", "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_GtE_Gt", "ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_IsNot_Is",
    "ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_LtE_Lt", "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_NotEq_Eq", "ReplaceContinueWithBreak", "ReplaceFalseWithTrue", "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse", "ReplaceUnaryOperator_Delete_Not", "ZeroIterationForLoop",
)  # fmt: skip

#: The inventory is among the mutants of the SQL.
FILES = tuple({"migrate.py", *(f"phase_1/{path.name}" for path in (ROOT / "phase_1").glob("*.py"))} - {INVENTORY})


def python_mutants() -> list[Mutant]:
    """Every mutant, in the order of the files; each stands once."""
    found = {(each.file, each.change.new): each for file in FILES for each in _of(file)}
    return sorted(found.values(), key=lambda each: (each.file, each.start, each.operator, each.after))


def _of(file: str) -> Iterator[Mutant]:
    text = (ROOT / file).read_text(encoding="utf-8")
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        for occurrence in count():
            changed = mutate_code(text, operator, occurrence)
            if changed is None:
                break
            if changed == text:
                continue
            start = _alike(text, changed)
            kept = _alike(text[start:][::-1], changed[start:][::-1])
            before, after = text[start : len(text) - kept], changed[start : len(changed) - kept]
            around = text[text.rfind("\n", 0, start) + 1 : start], text[start + len(before) :].partition("\n")[0]
            shown = " ".join(f"{around[0]}[{before} → {after}]{around[1]}".split())
            line = text.count("\n", 0, start + len(before) - len(before.lstrip())) + 1
            yield Mutant(file, _function(text, line), line, name, before, after, shown, start)


def _alike(one: str, other: str) -> int:
    """With how many characters both begin."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _function(text: str, line: int) -> str:
    """The innermost function or class around a line; nothing outside of them."""
    around = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno).name if around else ""
