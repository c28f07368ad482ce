"""The sections of the page, in their order.

A section is made by a function from :class:`Content` to a :class:`Section`, or to None if the run has nothing to show
there. It fills in a template of ``report/templates``; what depends on the kind of target goes by the report's type
(``functools.singledispatch``), what depends on the kind of example through the run's task.
"""

from collections.abc import Callable

from keras_transfer.report.content import Content
from keras_transfer.report.html import Section
from keras_transfer.report.sections.classes import per_class

SECTIONS: tuple[Callable[[Content], Section | None], ...] = (per_class,)
