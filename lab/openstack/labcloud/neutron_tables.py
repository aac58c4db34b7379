"""Neutron's newest tables in an empty database: ``python -m labcloud.neutron_tables NEUTRON.CONF``."""

import sys

import neutron.db.migration.models.head  # noqa: F401  # declares every table
import sqlalchemy
from neutron.common import config
from neutron_lib.db import model_base
from oslo_config import cfg
from oslo_db import options

config.register_common_config_options()
config.init(["--config-file", sys.argv[1]])
options.set_defaults(cfg.CONF)
model_base.BASEV2.metadata.create_all(sqlalchemy.create_engine(cfg.CONF.database.connection))
