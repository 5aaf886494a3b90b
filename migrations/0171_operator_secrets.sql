-- What the operator signs in with: the hash of the token that was made at the first start, and the
-- fingerprint of the password or token of the last start.
create table operator_secrets (
    name text primary key not null,
    value text not null
);
