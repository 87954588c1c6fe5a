-- Run once by the image's entry point, as the superuser, in the database `materials`: pgvector, and a role and a schema for each of the two services.
\set ON_ERROR_STOP on
\getenv status_password STATUS_PASSWORD
\getenv processor_password PROCESSOR_PASSWORD
CREATE EXTENSION vector SCHEMA public;
CREATE ROLE status LOGIN PASSWORD :'status_password';
CREATE ROLE processor LOGIN PASSWORD :'processor_password';
CREATE SCHEMA status AUTHORIZATION status;
CREATE SCHEMA processor AUTHORIZATION processor;
-- The list of applied migrations lies in `public`, one for both: whichever service makes it, both write it.
GRANT CREATE ON SCHEMA public TO status, processor;
ALTER DEFAULT PRIVILEGES FOR ROLE status, processor IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO status, processor;
