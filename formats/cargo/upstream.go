package cargo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"larder/formats"
)

// configDoc is the key of the upstream's config.json.
const configDoc = "config.json"

// Locate returns the upstream URL of an index file, a crate, config.json or a
// search. Downloads and the web API lie where the upstream's config.json says.
func (f *Format) Locate(ctx context.Context, c formats.Connection, t formats.Target, a *formats.Asset, docs formats.Docs) (formats.Fetch, error) {
	base := c.URL
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	switch t.Kind {
	case formats.KindListing:
		return formats.Fetch{URL: base + indexDir(t.Name.Canon) + "/" + t.Name.Canon}, nil
	case formats.KindDocument:
		if t.Doc == configDoc {
			return formats.Fetch{URL: base + configDoc}, nil
		}
	case formats.KindAsset:
		config, err := readConfig(ctx, c, docs)
		if err != nil {
			return formats.Fetch{}, err
		}
		u, err := downloadURL(config.DL, t, a)
		if err != nil {
			return formats.Fetch{}, fmt.Errorf("locate crate at connection %s: %w", c.Name, err)
		}
		return formats.Fetch{URL: u}, nil
	case formats.KindSearch:
		config, err := readConfig(ctx, c, docs)
		if err != nil {
			return formats.Fetch{}, err
		}
		if config.API == "" {
			return formats.Fetch{}, formats.Refuse(formats.NotSupported, "the registry behind this repository has no search")
		}
		return formats.Fetch{URL: strings.TrimSuffix(config.API, "/") + "/" + t.Doc}, nil
	}
	return formats.Fetch{}, formats.Refuse(formats.NotFound, "a sparse registry has no %s", t.Kind)
}

// readConfig reads the upstream's config.json through the shared cache.
func readConfig(ctx context.Context, c formats.Connection, docs formats.Docs) (indexConfig, error) {
	data, err := docs.Document(ctx, formats.Target{Kind: formats.KindDocument, Doc: configDoc, Fresh: formats.Revalidate, ContentType: typeJSON})
	if errors.Is(err, formats.ErrNoDocument) {
		return indexConfig{}, formats.Refuse(formats.Upstream, "the registry behind this repository has no config.json").Because(err)
	}
	if err != nil {
		return indexConfig{}, fmt.Errorf("read config.json of connection %s: %w", c.Name, err)
	}
	config, err := parseConfig(data)
	if err != nil {
		return indexConfig{}, formats.Refuse(formats.Upstream, "the registry behind this repository has an unusable config.json").
			Because(fmt.Errorf("read config.json of connection %s: %w", c.Name, err))
	}
	return config, nil
}

// parseConfig requires a download place; api is absent for registries without
// a web API.
func parseConfig(data []byte) (indexConfig, error) {
	var config indexConfig
	if err := json.Unmarshal(data, &config); err != nil {
		return indexConfig{}, fmt.Errorf("parse: %w", err)
	}
	for _, u := range []string{config.DL, config.API} {
		if u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
			return indexConfig{}, fmt.Errorf("%.200q is not an http or https URL", u)
		}
	}
	if config.DL == "" {
		return indexConfig{}, errors.New("no dl")
	}
	return config, nil
}

// downloadURL fills the markers of a dl template; a template without any gets
// /{crate}/{version}/download (The Cargo Book, "Index configuration").
func downloadURL(template string, t formats.Target, a *formats.Asset) (string, error) {
	crate := spelling(t.Name, a)
	sum := ""
	if a != nil {
		if d, ok := formats.Find(a.Digests, formats.SHA256); ok {
			sum = d.Hex
		}
	}
	markers := []string{"{crate}", crate, "{version}", t.Version, "{prefix}", indexDir(crate),
		"{lowerprefix}", indexDir(strings.ToLower(crate)), "{sha256-checksum}", sum}
	marked := false
	for i := 0; i < len(markers); i += 2 {
		marked = marked || strings.Contains(template, markers[i])
	}
	if strings.Contains(template, "{sha256-checksum}") && sum == "" {
		return "", formats.Refuse(formats.NotFound, "%s %s is not in the index, and its download needs the checksum", crate, t.Version)
	}
	if !marked {
		template = strings.TrimSuffix(template, "/") + "/{crate}/{version}/download"
	}
	filled := strings.NewReplacer(markers...).Replace(template)
	u, err := url.Parse(filled)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("dl template %.200q gives no URL", template)
	}
	return filled, nil
}
