//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"path/filepath"
)

// clientCertificates is pg_hba.conf where logins show a certificate.
const clientCertificates = `local   all all       scram-sha-256
host    all ` + superuser + ` all scram-sha-256
hostssl all all all   scram-sha-256 clientcert=verify-ca
`

// prepare copies the files to where the server's account can read them, and completes
// the settings.
func (t TLS) prepare(as account, dataDir string, settings map[string]string) error {
	settings["ssl"] = "on"
	for setting, from := range map[string]string{"ssl_cert_file": t.Cert, "ssl_key_file": t.Key, "ssl_ca_file": t.ClientCA} {
		if from == "" {
			continue
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("read TLS file: %w", err)
		}
		settings[setting] = filepath.Join(dataDir, "gapless."+setting+".pem")
		if err := writeOwned(as, settings[setting], string(text)); err != nil {
			return err
		}
	}
	if t.ClientCA == "" {
		return nil
	}
	settings["hba_file"] = filepath.Join(dataDir, "gapless.hba")
	return writeOwned(as, settings["hba_file"], clientCertificates)
}
