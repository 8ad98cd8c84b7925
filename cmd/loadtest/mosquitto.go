package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// findMosquitto finds the broker of the distribution. If there is none, and this is
// root, it is installed with apt-get; else it says what to do.
func findMosquitto(ctx context.Context, install bool, say func(format string, args ...any)) (binary, missing string) {
	look := func() string {
		for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
			if path, err := exec.LookPath(name); err == nil {
				return path
			}
		}
		return ""
	}
	if binary := look(); binary != "" {
		return binary, ""
	}
	const advice = "mosquitto is not installed (apt-get install mosquitto)"
	if !install || os.Geteuid() != 0 {
		return "", advice
	}
	say("installing mosquitto with apt-get; --no-install does not")
	cmd := exec.CommandContext(ctx, "apt-get", "install", "-y", "--no-install-recommends", "mosquitto")
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Sprintf("%s: apt-get: %v: %s", advice, err, lines[len(lines)-1])
	}
	if binary := look(); binary != "" {
		return binary, ""
	}
	return "", advice
}

// broker starts mosquitto with its defaults on a free port of loopback, and returns
// when it takes connections.
func (w *workshop) broker(ctx context.Context, binary string) (*process, string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(w.dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\n"), 0o600); err != nil {
		return nil, "", err
	}
	p, err := w.start("mosquitto", exec.Command(binary, "-c", file)) //nolint:noctx,gosec // ended by stop, which does not kill at once; found in the path
	if err != nil {
		return nil, "", err
	}
	up, err := every(ctx, 50*time.Millisecond, 10*time.Second, func() (bool, error) {
		m, err := connectMQTT(ctx, address)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		return true, m.close()
	})
	if err == nil && !up {
		err = fmt.Errorf("mosquitto takes no connection at %s", address)
	}
	return p, address, err
}
