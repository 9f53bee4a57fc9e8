module bench.example/server

go 1.19

require handoff.example/go v0.0.0

replace handoff.example/go => ../../examples/go
