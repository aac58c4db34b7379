"""Imported for its imports: what the services have in common and is slow to load."""

import jsonschema
import keystonemiddleware.auth_token
import oslo_config.cfg
import oslo_db.sqlalchemy.enginefacade
import oslo_log.log
import oslo_messaging
import oslo_middleware
import oslo_policy.policy
import paste.deploy
import routes
import sqlalchemy.dialects.sqlite
import sqlalchemy.orm
import webob.dec
import werkzeug.serving

import labcloud.serve
import labcloud.sqlite
