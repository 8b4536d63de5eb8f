package npm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"larder/formats"
)

// bundleFile is the file name of a version's provenance bundle.
func bundleFile(canon, version string) string {
	return strings.TrimSuffix(tarballFile(canon, version), ".tgz") + ".sigstore"
}

// statement is the part of an in-toto statement that tells what it is about
// (in-toto attestation framework, "Statement").
type statement struct {
	PredicateType string `json:"predicateType"`
	Subject       []struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

// readStatement takes the statement out of a Sigstore bundle's DSSE envelope.
// Its signature is not looked at: that is the client's to check, against roots
// of its own.
func readStatement(bundle []byte) (s statement, err error) {
	var b struct {
		Envelope struct {
			Payload string `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return s, fmt.Errorf("parse bundle: %w", err)
	}
	payload, err := base64.StdEncoding.DecodeString(b.Envelope.Payload)
	if err != nil {
		return s, fmt.Errorf("parse bundle's payload: %w", err)
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return s, fmt.Errorf("parse bundle's statement: %w", err)
	}
	return s, nil
}

func predicateType(bundle []byte) string {
	s, err := readStatement(bundle)
	if err != nil {
		return ""
	}
	return s.PredicateType
}

// provenance takes in the bundle, which must be about this very tarball.
func (u *upload) provenance() (formats.NewFile, error) {
	s, err := readStatement(u.bundle)
	if err != nil {
		return formats.NewFile{}, formats.Refuse(formats.BadRequest, "the provenance bundle cannot be read").Because(err)
	}
	d, _ := formats.Find(u.tarball.Digests(), formats.SHA512)
	if len(s.Subject) != 1 || !strings.EqualFold(s.Subject[0].Digest["sha512"], d.Hex) {
		return formats.NewFile{}, formats.Refuse(formats.BadRequest, "the provenance bundle is about another tarball")
	}
	if n, v, ok := New().ParsePURL(s.Subject[0].Name); !ok || n.Canon != u.name.Canon || v != u.version {
		return formats.NewFile{}, formats.Refuse(formats.BadRequest, "the provenance bundle is about %q", clip(s.Subject[0].Name))
	}
	spool, err := u.in.Spool(u.ctx, bytes.NewReader(u.bundle))
	if err != nil {
		return formats.NewFile{}, fmt.Errorf("take in provenance: %w", err)
	}
	return formats.NewFile{File: bundleFile(u.name.Canon, u.version), ContentType: mediaFull, Spool: spool}, nil
}

// Derive answers the attestations of a version that was published here from
// its bundle, in the registry's shape.
func (f *Format) Derive(t formats.Target, of formats.HeldAsset, file formats.File) (*formats.Reply, error) {
	if file.Size() > maxBundle {
		return nil, fmt.Errorf("derive attestations of %s: bundle of %d bytes: %w", t.Name.Canon, file.Size(), errTooLarge)
	}
	bundle := make([]byte, file.Size())
	if _, err := file.ReadAt(bundle, 0); err != nil {
		return nil, fmt.Errorf("derive attestations of %s: %w", t.Name.Canon, err)
	}
	if end, err := checkValue(bundle, space(bundle, 0), 0); err != nil || space(bundle, end) != len(bundle) {
		return nil, fmt.Errorf("derive attestations of %s: %s is %w", t.Name.Canon, of.File, errJSON)
	}
	body := appendString([]byte(`{"attestations":[{"predicateType":`), predicateType(bundle))
	body = append(append(append(body, `,"bundle":`...), bundle...), `}]}`...)
	return formats.JSONReply(http.StatusOK, string(body)), nil
}
