#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/args.hpp"
#include "control/value.hpp"

// The one command table of a process. The prompt, scripts, attached clients, JSON-RPC and
// completion all go through it; a role registers its commands once.
//
// Grammar, words separated by spaces:
//   show               a literal word: a-z, 0-9, '-', '_'
//   info|stats         one of several literals; parentheses are optional: (info|stats)
//   PORT               a variable, a string
//   <N:uint>           a variable with a type: str, uint, int, real, share (0.01 or 1%), rate
//                      (10M), size (2K), duration (5ms), path, rest (what is left of the line)
//   (all|PORT)         literals and a variable
//   [size SIZE]        an optional group; neighbouring groups may be given in any order. A group
//   [promisc] [PORT]   may be a flag, or just a variable
//
// Typing: unique prefixes of literals do (`sh po st all`), an exact literal beats a variable beats
// a prefix, "..." quotes, # begins a comment, and noun first is accepted (`port show stats all`).

namespace sluice::control {

enum class Access : unsigned char { read, write };

struct Command {
    std::string grammar;
    Access access = Access::read;
    std::string help;  // one sentence
    std::function<Result<Value>(const Args&)> handler;
};

// Why a line or a call was not carried out. `message` is for people: for a word that does not fit,
// the line, a caret line and what was expected; for a handler's error always exactly one line.
struct CommandError {
    static constexpr int kMethodNotFound = -32601;
    static constexpr int kInvalidParams = -32602;
    static constexpr int kFailed = -32000;    // the handler said no; code is its errno
    static constexpr int kRefused = -32001;   // a write command from a read-only client

    int rpc_code = kFailed;
    int code = EINVAL;
    std::string message;
    std::vector<std::string> expected;
    std::size_t column = 0;  // of the offending word, from 0

    // {"errno": .., "expected": [..]}, the `data` member of a JSON-RPC error.
    Value data() const;
};

template <typename T>
using CommandResult = tl::expected<T, CommandError>;

// The values a variable may take just now: port names, DIF names.
using Completer = std::function<std::vector<std::string>()>;

class CommandTable {
  public:
    CommandTable();
    ~CommandTable();
    CommandTable(const CommandTable&) = delete;
    CommandTable& operator=(const CommandTable&) = delete;

    // Aborts on a grammar that makes no sense: that is a programmer's error.
    void add(Command command);
    Result<> try_add(Command command);
    // For every variable of that name, in all commands. Type `path` completes file names unasked.
    void set_completer(std::string variable, Completer completer);

    // An empty line, or one with a comment only, gives null.
    CommandResult<Value> run(std::string_view line, Access allowed = Access::write);
    // The same for callers that want one text: Error.message may have several lines, see above.
    Result<Value> execute(std::string_view line, Access allowed = Access::write);

    // `method` is the command's literal words joined by dots, `params` an object of its variables
    // in lower case: call("show.port.stats", {{"port", "all"}}). An optional keyword without a
    // variable is a boolean ("promisc": true), one with literals to choose from takes the choice
    // ("kind": "tap").
    CommandResult<Value> call(std::string_view method, const Value& params,
                              Access allowed = Access::write);

    // What the word that ends at `cursor` may become, sorted, whole words (quoted if need be).
    std::vector<std::string> complete(std::string_view line, std::size_t cursor) const;

    // Array of {command, access, help, methods, params: [{name, type, required}]}.
    Value describe() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::control
