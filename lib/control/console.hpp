#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "control/command.hpp"
#include "control/event_loop.hpp"

namespace sluice::control {

struct ConsoleOptions {
    std::string prompt = "sluice> ";
    std::string history_file;         // "" keeps none; see default_history_file()
    int input = 0;                    // standard input
    std::FILE* output = stdout;
    // The input has ended, `ok` unless a script stopped at an error. On the loop's thread; the role
    // lives on unless this stops it.
    std::function<void(bool ok)> on_end;
};

// The prompt of a role. On a terminal libedit reads the lines on a thread of its own, because it
// blocks in the middle of key sequences; that thread only hands lines and completion questions to
// the loop and prints the answers, so commands still run on the control thread alone. Input that is
// no terminal is read as a script; its first error is printed with its line number and ends it.
class Console {
  public:
    static Result<std::unique_ptr<Console>> start(EventLoop& loop, CommandTable& table,
                                                  ConsoleOptions options);
    ~Console();  // gives the terminal back; before the loop and the table are gone
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;

  private:
    struct Impl;
    explicit Console(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

// Runs a file of command lines on the calling thread, printing what they answer; stops at the first
// error, which says "file:line: ...", or once `stopped` says so (a script may hold `quit`).
Result<> run_script(CommandTable& table, const std::string& file, std::FILE* output = stdout,
                    const std::function<bool()>& stopped = {});

// ~/.sluice_history, or "" without a home.
std::string default_history_file();

}  // namespace sluice::control
