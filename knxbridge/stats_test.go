package knxbridge

import (
	"reflect"
	"testing"
)

// Plus forgets no counter.
func TestStatsPlus(t *testing.T) {
	var one Stats
	fill(reflect.ValueOf(&one).Elem())
	two := one.Plus(one)
	compare(t, reflect.ValueOf(two))
}

func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch field := v.Field(i); field.Kind() {
		case reflect.Struct:
			fill(field)
		case reflect.Uint64:
			field.SetUint(uint64(i) + 1)
		}
	}
}

func compare(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		switch field := v.Field(i); field.Kind() {
		case reflect.Struct:
			compare(t, field)
		case reflect.Uint64:
			if field.Uint() != 2*(uint64(i)+1) {
				t.Errorf("%s is %d, want %d", v.Type().Field(i).Name, field.Uint(), 2*(i+1))
			}
		}
	}
}
