// Two services of one house. `make generate` makes src/house.rs of it.

exception NobodyThere {
    1: required string name,
}

service Door {
    // Says how many have come in so far.
    i32 enter(1: string name),
    void leave(1: string name) throws (1: NobodyThere nobody),
    // Who is in.
    list<string> guests(),
}

service Bell {
    oneway void ring(1: string name),
    // Who has rung, the last one first.
    list<string> rung(),
}
