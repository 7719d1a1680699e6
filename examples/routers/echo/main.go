package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"

	"github.com/curfewhq/curfew/guard"
)

func main() {
	g, err := guard.Open(context.Background(), guard.Config{
		Authority: "http://127.0.0.1:8080", Key: os.Getenv("CURFEW_VERIFIER_KEY"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	log.Print(http.ListenAndServe("127.0.0.1:9001", routes(g)))
}

// routes: echo has an adapter for middleware of net/http.
func routes(g *guard.Guard) http.Handler {
	e := echo.New()
	e.GET("/public", func(c echo.Context) error { return c.String(http.StatusOK, "hello") })
	e.GET("/", whoami, echo.WrapMiddleware(g.Middleware))
	e.GET("/strict", whoami, echo.WrapMiddleware(g.Route(guard.Route{Mode: guard.Strict})))
	return e
}

func whoami(c echo.Context) error {
	claims, _ := guard.FromContext(c.Request().Context())
	return c.String(http.StatusOK, claims.Subject)
}
