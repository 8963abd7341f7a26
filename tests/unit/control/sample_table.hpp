#pragma once

#include <string>

#include "control/command.hpp"

// A table like a role's. Handlers answer with what they understood.
namespace sample {

using sluice::Result;
using sluice::control::Access;
using sluice::control::Args;
using sluice::control::CommandTable;
using sluice::control::Value;

inline Value echo(const Args& args, std::initializer_list<const char*> names) {
    Value words = Value::array();
    for (std::size_t i = 0; i < args.words(); ++i) words.push_back(args.word(i));
    Value result = Value::object();
    result["words"] = words;
    for (const char* name : names)
        if (auto text = args.optional_str(name)) result[name] = *text;
    return result;
}

inline void fill(CommandTable& table) {
    const auto echoing = [](std::initializer_list<const char*> names) {
        return [list = std::vector<const char*>(names)](const Args& args) -> Result<Value> {
            Value result = echo(args, {});
            for (const char* name : list)
                if (auto text = args.optional_str(name)) result[name] = *text;
            return result;
        };
    };
    table.add({"show port info|stats (all|PORT)", Access::read, "Shows ports.",
               echoing({"PORT"})});
    table.add({"show drops", Access::read, "Shows why packets were dropped.", echoing({})});
    table.add({"show lcores", Access::read, "Shows the lcores.", echoing({})});
    table.add({"start", Access::write, "Starts forwarding.", echoing({})});
    table.add({"stop", Access::write, "Stops forwarding.", echoing({})});
    table.add({"start capture PORT [file <FILE:path>] [size <SIZE:size>] [promisc]", Access::write,
               "Captures a port.", [](const Args& args) -> Result<Value> {
                   Value result = echo(args, {"PORT", "FILE"});
                   if (auto size = args.optional_size("SIZE")) result["bytes"] = *size;
                   result["promisc"] = args.has("promisc");
                   return result;
               }});
    table.add({"set link NAME rate <RATE:rate> delay <TIME:duration> [loss <P:share>]",
               Access::write, "Shapes a link.", [](const Args& args) -> Result<Value> {
                   Value result = echo(args, {"NAME"});
                   result["rate"] = args.rate("RATE");
                   result["delay_ns"] = args.duration("TIME").ns;
                   if (auto loss = args.optional_real("P")) result["loss"] = *loss;
                   return result;
               }});
    table.add({"add port NAME [kind vhost|tap] [queues <N:uint>]", Access::write, "Adds a port.",
               [](const Args& args) -> Result<Value> {
                   Value result = echo(args, {"NAME"});
                   result["tap"] = args.has("tap");
                   result["queues"] = args.optional_uint("N").value_or(1);
                   return result;
               }});
    table.add({"set filter PORT <EXPRESSION:rest>", Access::write, "Filters a port.",
               echoing({"PORT", "EXPRESSION"})});
    table.add({"fail [<WHAT:rest>]", Access::read, "Fails.",
               [](const Args& args) -> Result<Value> {
                   return sluice::fail(ENODEV, "no port '{}'\nreally\x1b[2J\n",
                                       args.optional_str("WHAT").value_or(""));
               }});
    table.add({"throw", Access::read, "Throws.", [](const Args&) -> Result<Value> {
                   throw std::runtime_error("oops");
               }});
    table.set_completer("PORT", [] { return std::vector<std::string>{"p0", "p1", "my port"}; });
}

}  // namespace sample
