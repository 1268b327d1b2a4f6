"""How state machines of the stores are run: the same examples in every run, in parts that are short everywhere."""

from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.sizes import STORE_STEPS


def try_examples(machine: type[RuleBasedStateMachine], part: int, examples: int) -> None:
    """Run so many random histories; those of another part are others."""
    run: Any = run_state_machine_as_test
    run(
        seed(part)(type(machine.__name__, (machine,), {})),
        settings=settings(
            max_examples=examples,
            stateful_step_count=STORE_STEPS,
            deadline=None,
            phases=(Phase.generate,),
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
