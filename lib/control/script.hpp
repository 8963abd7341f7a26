#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "control/command.hpp"

// Lines from a file or a pipe, for the role's own table and for an attached one alike.

namespace sluice::control {

using LineRunner = std::function<CommandResult<Value>(const std::string& line)>;
using ValuePrinter = std::function<void(const Value&)>;

// "file:3: what is wrong", and for a word that does not fit, the line and the caret below it.
std::string located(std::string_view where, const CommandError& error);

// Collects bytes into lines and runs each one that is complete.
class ScriptRunner {
  public:
    ScriptRunner(std::string name, LineRunner run, ValuePrinter print)
        : name_(std::move(name)), run_(std::move(run)), print_(std::move(print)) {}

    CommandResult<void> feed(std::string_view bytes);
    // Runs a last line that lacks its newline.
    CommandResult<void> end();
    // "file:3", of the line that ran last.
    std::string where() const;

  private:
    CommandResult<void> run_line(const std::string& line);

    std::string name_;
    LineRunner run_;
    ValuePrinter print_;
    std::string pending_;
    int line_ = 0;
};

Result<std::string> read_script(const std::string& file);

// print_text(stdout) as a ValuePrinter; flushed, so that pipes see answers at once.
ValuePrinter text_printer(std::FILE* output);

}  // namespace sluice::control
