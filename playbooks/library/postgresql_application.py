#!/usr/bin/python3
"""The application's role and database, on the primary."""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

DOCUMENTATION = """
module: postgresql_application
short_description: The application's role and database
description:
  - Runs as the database's own user on the primary, over its local socket. The password is tried by logging
    in with it, and what the server is sent is a SCRAM verifier, so that no log can hold it.
options:
  role:
    description: The role; it may log in, and do nothing beyond I(grants).
    type: str
    required: true
  password:
    description: Its password.
    type: str
    required: true
  database:
    description: The database, owned by the role.
    type: str
    required: true
  grants:
    description: The roles of the server that it is a member of, and no others.
    type: list
    elements: str
    default: []
  port:
    description: The server's port.
    type: int
    default: 5432
author: dcctl
"""

RETURN = """
done:
  description: What was, or in check mode would be, done.
  type: list
  elements: str
  returned: always
"""

try:
    import psycopg2
    from psycopg2 import extensions, sql
except ImportError:
    psycopg2 = None

ATTRIBUTES = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


def main():
    """Compare and mend."""
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "database": {"type": "str", "required": True},
            "grants": {"type": "list", "elements": "str", "default": []},
            "port": {"type": "int", "default": 5432},
        },
        supports_check_mode=True,
    )
    if psycopg2 is None:
        module.fail_json(msg=missing_required_lib("psycopg2"))
    try:
        connection = psycopg2.connect(dbname="postgres", port=module.params["port"], connect_timeout=5)
        connection.autocommit = True
        with connection.cursor() as cursor:
            done = ensure_role(module, cursor) + ensure_grants(module, cursor)
            done += ensure_database(module, cursor)
    except psycopg2.Error as error:
        module.fail_json(msg=f"PostgreSQL: {str(error).strip()}")
    module.exit_json(changed=bool(done), done=done)


def ensure_role(module, cursor):
    """The role with its attributes and password."""
    role = module.params["role"]
    cursor.execute(
        "SELECT rolcanlogin AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication"
        " OR rolbypassrls) FROM pg_roles WHERE rolname = %s",
        (role,),
    )
    found = cursor.fetchone()
    if found is None:
        execute(
            module, cursor, f"CREATE ROLE {{}} {ATTRIBUTES} PASSWORD {{}}", role, verifier(module, cursor)
        )
        return [f"created role {role}"]
    done = []
    if not found[0]:
        execute(module, cursor, f"ALTER ROLE {{}} {ATTRIBUTES}", role)
        done.append(f"took other rights from role {role}")
    if not logs_in(module):
        execute(module, cursor, "ALTER ROLE {} PASSWORD {}", role, verifier(module, cursor))
        done.append(f"set the password of role {role}")
    return done


def ensure_grants(module, cursor):
    """Its membership in other roles: those that are asked for, and no others."""
    role, wanted = module.params["role"], module.params["grants"]
    cursor.execute(
        "SELECT granted.rolname FROM pg_auth_members AS membership"
        " JOIN pg_roles AS granted ON granted.oid = membership.roleid"
        " JOIN pg_roles AS member ON member.oid = membership.member WHERE member.rolname = %s",
        (role,),
    )
    found = [name for (name,) in cursor.fetchall()]
    done = []
    for name in (name for name in wanted if name not in found):
        execute(module, cursor, "GRANT {} TO {}", name, sql.Identifier(role))
        done.append(f"made role {role} a member of {name}")
    for name in (name for name in found if name not in wanted):
        execute(module, cursor, "REVOKE {} FROM {}", name, sql.Identifier(role))
        done.append(f"took {name} from role {role}")
    return done


def ensure_database(module, cursor):
    """The database with its owner, closed to other roles."""
    role, database = module.params["role"], module.params["database"]
    cursor.execute(
        "SELECT pg_get_userbyid(datdba), has_database_privilege('public', oid, 'CONNECT')"
        " FROM pg_database WHERE datname = %s",
        (database,),
    )
    found = cursor.fetchone()
    done = []
    if found is None:
        execute(module, cursor, "CREATE DATABASE {} OWNER {}", database, sql.Identifier(role))
        done.append(f"created database {database}")
    elif found[0] != role:
        execute(module, cursor, "ALTER DATABASE {} OWNER TO {}", database, sql.Identifier(role))
        done.append(f"gave database {database} to role {role}")
    if found is None or found[1]:
        execute(module, cursor, "REVOKE CONNECT ON DATABASE {} FROM PUBLIC", database)
        done.append(f"closed database {database} to other roles")
    return done


def execute(module, cursor, statement, name, value=None):
    """One statement about ``name``, unless in check mode."""
    if not module.check_mode:
        values = [] if value is None else [value]
        cursor.execute(sql.SQL(statement).format(sql.Identifier(name), *values))


def verifier(module, cursor):
    """The password as the server stores it."""
    plain, role = module.params["password"], module.params["role"]
    return sql.Literal(extensions.encrypt_password(plain, role, cursor.connection, "scram-sha-256"))


def logs_in(module):
    """Whether the password is the role's. Other troubles are the caller's."""
    try:
        psycopg2.connect(
            host="127.0.0.1",
            port=module.params["port"],
            user=module.params["role"],
            password=module.params["password"],
            dbname=module.params["database"],
            connect_timeout=5,
        ).close()
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            return False
        if "does not exist" not in str(error):
            raise
    return True


if __name__ == "__main__":
    main()
