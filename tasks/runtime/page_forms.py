"""Makes Prefect's forms in the language of a deployment's pages: of flows, and of paused runs.

Prefect builds a flow's form where it is deployed, from the signature and docstring of the flow
object, and that of a paused run from its model. Only words change, and only where OBSCALE_LANG of
that process asks for it; a run itself is called by the flow's own function, which stays as it is.
"""

import inspect
from typing import Annotated, Any, TypeVar, cast

from prefect import Flow
from prefect.input import RunInput
from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from obscale.language import page_translations
from obscale.language.form import SaidForPage, said_for_page
from obscale.request.form import titled

AnyFlow = TypeVar("AnyFlow", bound=Flow[..., Any])


def form_in_page_language(flow: AnyFlow) -> AnyFlow:
    """Let the form of a flow be made in the language of pages; English leaves the flow untouched.

    Args:
        flow: With a title and a description for each parameter.
    """
    known = page_translations()
    if known is None:
        return flow
    told = flow.parameters.properties
    signature = inspect.signature(flow.fn, eval_str=True)
    parameters = [
        each.replace(
            annotation=Annotated[
                each.annotation, SaidForPage(), titled(known.form(told[name]["title"]))
            ]
        )
        for name, each in signature.parameters.items()
    ]
    lines = [f"    {name}: {known.form(told[name]['description'])}" for name in told]
    # Prefect reads both of the flow object: see its `parameter_schema`.
    seen = cast("Any", flow)
    seen.__signature__ = signature.replace(parameters=parameters)
    seen.__doc__ = "\n".join(
        (inspect.cleandoc(flow.fn.__doc__ or "").partition("\n")[0], "", "Args:", *lines)
    )
    return flow


class PausedForm(RunInput):
    """What a paused run asks a person."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Make its schema in the language of pages."""
        return said_for_page(core_schema, handler)
