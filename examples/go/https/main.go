// An HTTPS server behind the front door: https SOCKET CERTIFICATE KEY
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	handoff "handoff.example/go"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: https SOCKET CERTIFICATE KEY")
		os.Exit(2)
	}
	// Before anything is taken: what was, and cannot be served, is lost.
	certificate, err := tls.LoadX509KeyPair(os.Args[2], os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := handoff.Listen(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())

	server := &http.Server{
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(w, "hello from go: %s\n", r.RemoteAddr)
		}),
	}
	// Takes what is on the way, finishes what is open, and ends.
	done := make(chan error)
	go func() {
		terminate, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		<-terminate.Done()
		patience, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		done <- listener.Shutdown(patience, server)
	}()
	err = server.ServeTLS(listener, "", "")
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-done; err != nil {
		log.Fatal(err) // connections that were still open after 30 s
	}
}
