// A container of a capability as one writes it with net/http, with two faults: a caller's broken
// JSON is a 500, and it closes a connection that is idle for a second.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status": "OK"}`)
	})
	mux.HandleFunc("/reverse", func(w http.ResponseWriter, r *http.Request) {
		var job struct{ Text string }
		if err := json.NewDecoder(r.Body).Decode(&job); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		letters := []rune(job.Text)
		for i, j := 0, len(letters)-1; i < j; i, j = i+1, j-1 {
			letters[i], letters[j] = letters[j], letters[i]
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"result": string(letters)})
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().String())
	server := &http.Server{Handler: mux, IdleTimeout: 1 * time.Second}
	server.Serve(listener)
}
