// Command peers is the same service as bench/service behind checks that others
// build: the signature of the token by github.com/golang-jwt/jwt, alone or with
// a question to Redis by github.com/redis/go-redis for each request. It is a
// module of its own, so that nobody who imports Curfew depends on them.
package main
