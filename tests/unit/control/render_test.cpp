#include "control/render.hpp"

#include <catch2/catch.hpp>

using namespace sluice::control;

TEST_CASE("a list of objects is a table") {
    const Value rows = Value::parse(R"([
        {"port": "p0", "rx": 12345, "up": true, "note": null},
        {"port": "longer", "rx": 7, "up": false, "note": "x"}])");
    CHECK(render(rows) ==
          "port       rx  up   note\n"
          "p0      12345  yes  -\n"
          "longer      7  no   x\n");
}

TEST_CASE("rows may have different keys") {
    CHECK(render(Value::parse(R"([{"a": 1}, {"b": [1, 2]}, {"a": 2.5, "b": {"c": 1}}])")) ==
          "  a  b\n"
          "  1  -\n"
          "  -  1, 2\n"
          "2.5  {\"c\":1}\n");
}

TEST_CASE("an object is keys and values, nested ones indented") {
    const Value object = Value::parse(R"({
        "name": "p0", "mtu": 1500,
        "link": {"speed": "10G", "up": true, "peer": {"id": 1}},
        "queues": [{"id": 0, "lcore": 2}, {"id": 1, "lcore": 13}],
        "empty": [], "none": {}, "list": ["a", "b"]})");
    CHECK(render(object) ==
          "name:  p0\n"
          "mtu:   1500\n"
          "link:\n"
          "  speed: 10G\n"
          "  up:    yes\n"
          "  peer:\n"
          "    id: 1\n"
          "queues:\n"
          "  id  lcore\n"
          "   0      2\n"
          "   1     13\n"
          "empty: -\n"
          "none:  {}\n"
          "list:  a, b\n");
}

TEST_CASE("scalars, strings and nothing") {
    CHECK(render(nullptr).empty());
    CHECK(render("").empty());
    CHECK(render("text") == "text\n");
    CHECK(render("two\nlines\n") == "two\nlines\n");
    CHECK(render(42) == "42\n");
    CHECK(render(true) == "yes\n");
    CHECK(render(Value::parse(R"(["a", "b"])")) == "a\nb\n");
    CHECK(render(Value::array()).empty());
    CHECK(render(Value::object()).empty());
}

TEST_CASE("names cannot drive the terminal") {
    CHECK(render("a\x1b[2Jb") == "a?[2Jb\n");
    CHECK(render(Value{{"k\n", "v\x1b\n"}}) == "k?: v??\n");
    CHECK(render(Value::array({Value{{"k\t", "v\r"}}})) == "k?\nv?\n");
}

TEST_CASE("columns are counted in characters") {
    CHECK(render(Value::parse("[{\"n\": \"\xc3\xa4\", \"x\": 1}, {\"n\": \"ab\", \"x\": 2}]")) ==
          "n   x\n"
          "\xc3\xa4   1\n"
          "ab  2\n");
}

TEST_CASE("JSON never fails") {
    CHECK(render_json(Value{{"b", 1}, {"a", "\xff"}}, false) == "{\"b\":1,\"a\":\"\xef\xbf\xbd\"}");
    CHECK(render_json(Value{{"b", 1}}, true) == "{\n  \"b\": 1\n}");
}
