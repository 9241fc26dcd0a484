-- Run once, when the volume is new: `relocation` itself is made by POSTGRES_USER.
CREATE DATABASE prefect;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
