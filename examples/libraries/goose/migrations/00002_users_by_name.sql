-- +goose NO TRANSACTION
-- +goose Up
create index concurrently users_by_name on users (name);

-- +goose Down
drop index concurrently users_by_name;
