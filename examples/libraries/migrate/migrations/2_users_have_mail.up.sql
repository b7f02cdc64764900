alter table users add mail text;
