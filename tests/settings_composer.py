"""A composer for studies of no program: what Hydra would compose is what the study says."""


class Composer:
    """Configs that are the settings of their trial."""

    def plain(self, overrides):
        return {}

    def with_fixed(self, design):
        return design

    def configs(self, design):
        return self

    def config(self, settings):
        return dict(settings)

    def default_name(self, varied):
        return "study"
