// Package password turns passwords into stored hashes and checks them, with a
// bound on how much of the machine that may take.
//
// It owns the choice of algorithm (argon2id), the list of foreign formats that
// imported users may bring along (argon2, bcrypt, scrypt, PBKDF2, SHA-2 crypt),
// the limits on what a password and a stored hash may look like, and the queue
// in front of the processor. It does not own users, does not count failures and
// does not decide what a wrong password means.
package password
