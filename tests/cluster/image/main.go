// test-pod is everything that a pod of a test needs, in one static program: a server that says who it is, a client, and the
// process that holds a pod's namespaces.
//
//	test-pod                                     the sandbox process ("pause"): waits, reaps, ends on SIGTERM
//	test-pod serve [-port 8080] [-linger 0s] [-unready]
//	test-pod get URL                             prints what URL answers
//
// serve answers over HTTP:
//
//	GET  /         "POD NODE" and a line feed; POD is $POD_NAME or the host name, NODE is $NODE_NAME
//	GET  /client   the address and port that the request came from
//	GET  /ready    200 or 503, for a readiness probe
//	POST /ready    from now on 200
//	POST /unready  from now on 503
//
// and over UDP, on the same port, every datagram with what / says. On SIGTERM it goes on serving for -linger, then ends.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Longer than any answer on a network that works, shorter than a test's patience.
const getTimeout = 3 * time.Second

func main() {
	command := "pause"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	var err error
	switch command {
	case "pause":
		pause()
	case "serve":
		err = serve(os.Args[2:])
	case "get":
		err = get(os.Args[2:])
	default:
		err = fmt.Errorf("no command %q; there are pause, serve and get", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test-pod:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	port := flags.Int("port", 8080, "port of HTTP and UDP, on all addresses of both families")
	linger := flags.Duration("linger", 0, "how long to go on serving after SIGTERM")
	unready := flags.Bool("unready", false, "start with /ready answering 503")
	if err := flags.Parse(args); err != nil {
		return err
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)

	address := net.JoinHostPort("", strconv.Itoa(*port))
	name := name() + "\n"
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- echo(udp, []byte(name)) }()
	go func() { failed <- http.Serve(tcp, handler(name, !*unready)) }()
	fmt.Println("serving on", address)
	select {
	case err := <-failed:
		return err
	case <-terminated:
		fmt.Println("terminating in", *linger)
		time.Sleep(*linger)
		return nil
	}
}

func name() string {
	pod := os.Getenv("POD_NAME")
	if pod == "" {
		pod, _ = os.Hostname()
	}
	if node := os.Getenv("NODE_NAME"); node != "" {
		return pod + " " + node
	}
	return pod
}

func handler(name string, ready bool) http.Handler {
	var isReady atomic.Bool
	isReady.Store(ready)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })
	mux.HandleFunc("GET /client", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !isReady.Load() {
			http.Error(w, "unready", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ready\n")
	})
	mux.HandleFunc("POST /ready", func(http.ResponseWriter, *http.Request) { isReady.Store(true) })
	mux.HandleFunc("POST /unready", func(http.ResponseWriter, *http.Request) { isReady.Store(false) })
	return mux
}

func echo(socket net.PacketConn, answer []byte) error {
	var datagram [2048]byte
	for {
		_, from, err := socket.ReadFrom(datagram[:])
		if err != nil {
			return err
		}
		// The sender may be gone; that is not the server's end.
		socket.WriteTo(answer, from)
	}
}

func get(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("get: give one URL")
	}
	client := http.Client{Timeout: getTimeout}
	response, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", args[0], response.Status)
	}
	return nil
}

// pause is PID 1 of pods that share a process namespace, and so reaps whatever their containers leave behind.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}
