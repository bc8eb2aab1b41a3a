package store

import (
	"fmt"
	"math"
	"reflect"

	"github.com/ncruces/go-sqlite3"
)

// bind sets the arguments of a statement.
func (s *stmt) bind(args []any) error {
	if len(args) != s.params {
		return fmt.Errorf("store: statement takes %d arguments, not %d", s.params, len(args))
	}
	for i, arg := range args {
		if err := s.bindOne(i+1, arg); err != nil {
			return err
		}
	}
	return nil
}

func (s *stmt) bindOne(i int, arg any) error {
	switch v := arg.(type) {
	case nil:
		return s.BindNull(i)
	case []byte:
		return s.bindBytes(i, v)
	case string:
		return s.BindText(i, v)
	case int:
		return s.BindInt64(i, int64(v))
	case int64:
		return s.BindInt64(i, v)
	case uint64:
		return s.bindUint(i, v)
	case bool:
		return s.BindBool(i, v)
	}
	v := reflect.ValueOf(arg)
	switch v.Kind() {
	case reflect.Bool:
		return s.BindBool(i, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return s.BindInt64(i, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return s.bindUint(i, v.Uint())
	case reflect.Float32, reflect.Float64:
		return s.BindFloat(i, v.Float())
	case reflect.String:
		return s.BindText(i, v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return s.bindBytes(i, v.Bytes())
		}
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			return s.bindBytes(i, b)
		}
	case reflect.Pointer:
		if v.IsNil() {
			return s.BindNull(i)
		}
		if k := v.Type().Elem().Kind(); k != reflect.Pointer && k != reflect.Struct {
			return s.bindOne(i, v.Elem().Interface())
		}
	}
	return fmt.Errorf("store: argument %d has type %T", i, arg)
}

// bindBytes keeps nil (NULL) and empty apart.
func (s *stmt) bindBytes(i int, b []byte) error {
	if b == nil {
		return s.BindNull(i)
	}
	if len(b) == 0 {
		return s.BindZeroBlob(i, 0)
	}
	return s.BindBlob(i, b)
}

func (s *stmt) bindUint(i int, v uint64) error {
	if v > math.MaxInt64 {
		return fmt.Errorf("store: argument %d exceeds 63 bits", i)
	}
	return s.BindInt64(i, int64(v))
}

// scan copies the columns of the row that the statement is at.
func (s *stmt) scan(dest []any) error {
	if len(dest) != s.columns {
		return fmt.Errorf("store: row has %d columns, not %d", s.columns, len(dest))
	}
	for i, d := range dest {
		if err := s.scanOne(i, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *stmt) scanOne(i int, dest any) error {
	t := s.ColumnType(i)
	switch d := dest.(type) {
	case *[]byte:
		switch t {
		case sqlite3.NULL:
			*d = nil
			return nil
		case sqlite3.BLOB, sqlite3.TEXT:
			*d = append(make([]byte, 0, 1), s.ColumnRawBlob(i)...)
			return nil
		}
		return scanError(i, t, dest)
	case *string:
		if t == sqlite3.TEXT || t == sqlite3.BLOB {
			*d = s.ColumnText(i)
			return nil
		}
		return scanError(i, t, dest)
	case *int64:
		if t == sqlite3.INTEGER {
			*d = s.ColumnInt64(i)
			return nil
		}
		return scanError(i, t, dest)
	}
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("store: column %d: destination %T is no pointer", i, dest)
	}
	v := p.Elem()
	if v.Kind() == reflect.Pointer {
		if t == sqlite3.NULL {
			v.SetZero()
			return nil
		}
		fresh := reflect.New(v.Type().Elem())
		if err := s.scanOne(i, fresh.Interface()); err != nil {
			return err
		}
		v.Set(fresh)
		return nil
	}
	isBytes := (v.Kind() == reflect.Slice || v.Kind() == reflect.Array) && v.Type().Elem().Kind() == reflect.Uint8
	switch {
	case t == sqlite3.INTEGER && v.CanInt():
		if n := s.ColumnInt64(i); !v.OverflowInt(n) {
			v.SetInt(n)
			return nil
		}
	case t == sqlite3.INTEGER && v.CanUint():
		if n := s.ColumnInt64(i); n >= 0 && !v.OverflowUint(uint64(n)) {
			v.SetUint(uint64(n))
			return nil
		}
	case t == sqlite3.INTEGER && v.Kind() == reflect.Bool:
		v.SetBool(s.ColumnInt64(i) != 0)
		return nil
	case (t == sqlite3.FLOAT || t == sqlite3.INTEGER) && v.CanFloat():
		v.SetFloat(s.ColumnFloat(i))
		return nil
	case t == sqlite3.TEXT && v.Kind() == reflect.String:
		v.SetString(s.ColumnText(i))
		return nil
	case t == sqlite3.NULL && v.Kind() == reflect.Slice && isBytes:
		v.SetZero()
		return nil
	case (t == sqlite3.BLOB || t == sqlite3.TEXT) && isBytes && v.Kind() == reflect.Slice:
		v.SetBytes(append(make([]byte, 0, 1), s.ColumnRawBlob(i)...))
		return nil
	case t == sqlite3.BLOB && isBytes:
		if b := s.ColumnRawBlob(i); len(b) == v.Len() {
			reflect.Copy(v, reflect.ValueOf(b))
			return nil
		}
	}
	return scanError(i, t, dest)
}

// scanError names types, never the value.
func scanError(i int, t sqlite3.Datatype, dest any) error {
	return fmt.Errorf("store: column %d: %v does not fit a %T", i, t, dest)
}
