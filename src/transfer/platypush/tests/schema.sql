CREATE TABLE user (
	user_id INTEGER NOT NULL, 
	username VARCHAR NOT NULL, 
	password VARCHAR, 
	password_salt VARCHAR, 
	hmac_iterations INTEGER, 
	created_at DATETIME, 
	PRIMARY KEY (user_id), 
	UNIQUE (username)
);
CREATE TABLE user_backup_code (
	id INTEGER NOT NULL, 
	user_id INTEGER, 
	code VARCHAR NOT NULL, 
	created_at DATETIME, 
	expires_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (user_id, code), 
	FOREIGN KEY(user_id) REFERENCES user (user_id)
);
CREATE TABLE user_otp (
	user_id INTEGER NOT NULL, 
	otp_secret VARCHAR NOT NULL, 
	created_at DATETIME, 
	expires_at DATETIME, 
	PRIMARY KEY (user_id), 
	FOREIGN KEY(user_id) REFERENCES user (user_id), 
	UNIQUE (otp_secret)
);
CREATE TABLE user_session (
	session_id INTEGER NOT NULL, 
	session_token VARCHAR NOT NULL, 
	csrf_token VARCHAR, 
	user_id INTEGER NOT NULL, 
	created_at DATETIME, 
	expires_at DATETIME, 
	PRIMARY KEY (session_id), 
	UNIQUE (session_token), 
	UNIQUE (csrf_token), 
	FOREIGN KEY(user_id) REFERENCES user (user_id)
);
CREATE TABLE user_token (
	id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	token VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	created_at DATETIME, 
	expires_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(user_id) REFERENCES user (user_id), 
	UNIQUE (token)
);
CREATE UNIQUE INDEX user_token_user_id_token_idx ON user_token (user_id, token);
CREATE UNIQUE INDEX user_token_user_id_name_idx ON user_token (user_id, name);
CREATE INDEX user_token_user_id_expires_at_idx ON user_token (user_id, token, expires_at);
