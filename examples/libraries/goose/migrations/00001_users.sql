-- +goose Up
create table users (id bigint primary key, name text not null);

-- +goose Down
drop table users;
