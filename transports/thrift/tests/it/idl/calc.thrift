// The services of the tests: something of every kind. `make generate` makes tests/it/util/calc.rs of it.

enum Operation {
    ADD = 1,
    SUBTRACT = 2,
    DIVIDE = 3,
}

struct Work {
    1: required i64 left,
    2: required i64 right,
    3: optional Operation operation,
    4: optional string comment,
}

exception NoResult {
    1: required string why,
}

service Calculator {
    i64 calculate(1: Work work) throws (1: NoResult no_result),
    void ping(),
    oneway void note(1: string text),
    // All that was noted.
    list<string> notes(),
    // The same, with whatever the handler makes of it: panic, block, fail.
    string act(1: string what),
}

service Echo {
    binary bytes(1: binary bytes),
    map<string, list<i32>> lists(1: map<string, list<i32>> lists),
    list<Work> works(1: list<Work> works),
    set<i64> numbers(1: set<i64> numbers),
    double number(1: double number),
    bool truth(1: bool truth),
}
