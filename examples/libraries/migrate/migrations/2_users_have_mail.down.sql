alter table users drop mail;
