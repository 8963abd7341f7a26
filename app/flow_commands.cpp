#include <charconv>

#include "app/node.hpp"

namespace sluice::app {

using control::Access;
using control::Args;
using control::Value;

namespace {

Value counts_of(const shim_hv::ControlCounters& c, rina::vmpi::Profile profile) {
    Value v;
    for (std::size_t i = 1; i < rina::vmpi::kTypeCount; ++i) {
        if (c.sent[i] + c.received[i] + c.retransmitted[i] == 0) continue;
        const std::string name(
            profile == rina::vmpi::Profile::irati
                ? rina::vmpi::to_string(static_cast<rina::vmpi::IratiCommand>(i - 1))
                : rina::vmpi::to_string(static_cast<rina::vmpi::Type>(i)));
        v[name] = {{"sent", c.sent[i]},
                   {"retransmitted", c.retransmitted[i]},
                   {"received", c.received[i]}};
    }
    return v;
}

Value drops_of(const shim_hv::ControlCounters& c) {
    Value v = Value::object();
    for (std::size_t i = 1; i < rina::vmpi::kParseErrorCount; ++i)
        if (c.parse_errors[i] != 0)
            v[std::string(rina::vmpi::to_string(static_cast<rina::vmpi::ParseError>(i)))] =
                c.parse_errors[i];
    for (std::size_t i = 1; i < shim_hv::kVmpiDropCount; ++i)
        if (c.drops[i] != 0)
            v[std::string(shim_hv::to_string(static_cast<shim_hv::VmpiDrop>(i)))] = c.drops[i];
    return v;
}

std::vector<std::string> words_of(const Args& args) {
    std::vector<std::string> words;
    for (const auto& [variable, key] :
         {std::pair{"SIZE", "size"}, {"SWEEP", "sweep"}, {"RATE", "rate"}, {"COUNT", "count"},
          {"DURATION", "duration"}, {"BYTES", "bytes"},
          {"MODE", "mode"}, {"FILE", "file"}})
        if (const auto text = args.optional_str(variable))
            words.push_back(std::string(key) + "=" + *text);
    return words;
}

Result<std::uint32_t> id_of(const Args& args) {
    const std::string& text = args.str("ID");
    std::uint32_t id = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (code != std::errc() || end != text.data() + text.size())
        return fail(EINVAL, "'{}' is no number of a run or flow; 'show flows' lists them", text);
    return id;
}

}  // namespace

Value Node::show_vmpi(const std::string& wanted) const {
    Value rows = Value::array();
    for (const auto& [name, vmpi] : vmpi_) {
        if (!wanted.empty() && wanted != name) continue;
        const shim_hv::DeviceInfo i = vmpi.device->info();
        const auto role = [](rina::vmpi::Role r) {
            return r == rina::vmpi::Role::backend    ? "backend"
                   : r == rina::vmpi::Role::frontend ? "frontend"
                                                     : "alike";
        };
        Value v;
        v["port"] = name;
        v["state"] = shim_hv::to_string(i.state);
        v["profile"] = i.profile == rina::vmpi::Profile::irati ? "irati" : "sluice";
        v["role"] = role(i.role);
        v["peer_role"] = role(i.peer_role);
        v["epoch"] = fmt::format("{:016x}", i.own_epoch);
        v["peer_epoch"] = fmt::format("{:016x}", i.peer_epoch);
        v["max_sdu_tx"] = i.limits.max_sdu_tx;
        v["min_sdu_tx"] = i.limits.min_sdu_tx;
        v["max_sdu_rx"] = i.limits.max_sdu_rx;
        v["max_channels"] = i.limits.max_channels;
        v["credit_unit"] = i.limits.credit_unit;
        v["flows"] = i.flows.size();
        v["resets"] = i.counters.resets;
        v["collisions"] = i.counters.collisions;
        v["last_down"] = rina::to_string(i.last_down);
        if (i.limits.min_sdu_tx != 0)
            v["note"] = fmt::format(
                "SDUs under {} bytes cannot be sent: the other end's driver discards shorter "
                "frames",
                i.limits.min_sdu_tx);
        v["control"] = counts_of(i.counters, i.profile);
        v["control_drops"] = drops_of(i.counters);
        rows.push_back(v);
    }
    return rows;
}

void Node::add_flow_commands(control::CommandTable& table) {
    table.add({"show vmpi (all|PORT)", Access::read,
               "VMPI devices: peer, limits, control messages.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY_VOID(ports(args));
                   return show_vmpi(args.has("PORT") ? args.str("PORT") : "");
               }});
    table.add({"show flows", Access::read, "Flows, open and ended.",
               [this](const Args&) -> Result<Value> { return tgen_->show_flows(); }});
    table.add({"show apps", Access::read, "Applications registered here.",
               [this](const Args&) -> Result<Value> { return tgen_->show_apps(); }});
    table.add({"register app NAME dif DIF [out <DIR:path>]", Access::write,
               "Registers a traffic server on a shim DIF.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY_VOID(tgen_->register_server(args.str("NAME"), args.str("DIF"),
                                                          args.optional_str("DIR").value_or(""),
                                                          std::uint64_t{1} << 32));
                   return Value();
               }});
    table.add({"unregister app NAME dif DIF", Access::write,
               "Takes an application off a shim DIF; its flows end.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY_VOID(tgen_->unregister_server(args.str("NAME"), args.str("DIF")));
                   return Value();
               }});
    table.add({"allocate flow DIF SOURCE DESTINATION", Access::write,
               "Allocates a flow that carries nothing.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const std::uint32_t id,
                              tgen_->allocate(args.str("DIF"), args.str("SOURCE"),
                                              args.str("DESTINATION")));
                   return Value{{"flow", id}};
               }});
    table.add({"deallocate flow ID", Access::write, "Ends a flow.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const std::uint32_t id, id_of(args));
                   SLUICE_TRY_VOID(tgen_->deallocate(id));
                   return Value();
               }});
    add_tgen_commands(table);
}

void Node::add_tgen_commands(control::CommandTable& table) {
    table.add({"start tgen DIF SOURCE DESTINATION [size SIZE] [sweep SWEEP] [rate RATE] "
               "[count COUNT] [duration DURATION] [bytes BYTES] [mode MODE] "
               "[file <FILE:path>]",
               Access::write, "Allocates a flow and sends a stream of SDUs over it.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const std::uint32_t id,
                              tgen_->start_run(args.str("DIF"), args.str("SOURCE"),
                                               args.str("DESTINATION"), words_of(args)));
                   return Value{{"run", id}};
               }});
    table.add({"stop tgen ID", Access::write, "Ends a run; the server still reports.",
               [this](const Args& args) -> Result<Value> {
                   SLUICE_TRY(const std::uint32_t id, id_of(args));
                   SLUICE_TRY_VOID(tgen_->stop_run(id));
                   return Value();
               }});
    table.add({"show tgen (all|ID)", Access::read, "Traffic runs: what was sent and received.",
               [this](const Args& args) -> Result<Value> {
                   if (!args.has("ID")) return tgen_->show_runs(std::nullopt);
                   SLUICE_TRY(const std::uint32_t id, id_of(args));
                   Value rows = tgen_->show_runs(id);
                   if (rows.empty()) return fail(ENOENT, "there is no run {}", id);
                   return rows;
               }});
    table.add({"set tgen rx on|off [flow ID]", Access::write,
               "Makes servers read, or stop reading, to see back-pressure.",
               [this](const Args& args) -> Result<Value> {
                   std::optional<std::uint32_t> id;
                   if (args.has("ID")) {
                       SLUICE_TRY(id, id_of(args));
                   }
                   SLUICE_TRY_VOID(tgen_->set_reading(id, args.has("on")));
                   return Value();
               }});
}

}  // namespace sluice::app
