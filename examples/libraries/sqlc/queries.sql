-- name: CreateUser :one
insert into users (name) values ($1) returning *;

-- name: GetUser :one
select * from users where id = $1;

-- name: RenameUser :execrows
update users set name = $2 where id = $1;
