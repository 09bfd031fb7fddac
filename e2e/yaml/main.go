// Reads each text of a corpus as kubectl does and prints what it means, or that it is an error.
//
//	yaml CORPUS > RESULTS
//
// In: a JSON list of texts. Out: a JSON list of {"value": …} or {"error": true}, in the same order.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

type result struct {
	Value json.RawMessage `json:"value,omitempty"`
	Error bool            `json:"error,omitempty"`
}

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: yaml CORPUS")
	}
	corpus, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var texts []string
	if err := json.Unmarshal(corpus, &texts); err != nil {
		return err
	}
	results := make([]result, 0, len(texts))
	for _, text := range texts {
		value, err := yaml.YAMLToJSONStrict([]byte(text))
		if err != nil {
			results = append(results, result{Error: true})
		} else {
			results = append(results, result{Value: value})
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(results)
}
