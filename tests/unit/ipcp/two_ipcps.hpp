#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "normal_dif/core/ipcp/ipcp.hpp"

// Two IPC processes on one N-1 flow.
namespace sluice::mgmt {

using rina::Address;
using rmt::N1PortId;

inline constexpr N1PortId kFlow{0};

inline IpcpConfig config_of(const std::string& name, bool first = false) {
    IpcpConfig c;
    c.name = name;
    c.dif = "n.DIF";
    c.first = first;
    c.lower_difs = {"e.DIF"};
    return c;
}

inline std::unique_ptr<Ipcp> make_ipcp(IpcpConfig config, Instant now) {
    auto made = Ipcp::create(now, std::move(config));
    REQUIRE(made);
    return std::move(*made);
}

// With no delay and no loss; `cut` loses everything, and `alter` changes what it likes.
struct Two {
    explicit Two(IpcpConfig a = config_of("a.IPCP", true), IpcpConfig b = config_of("b.IPCP")) {
        ends[0] = make_ipcp(std::move(a), now);
        ends[1] = make_ipcp(std::move(b), now);
    }
    void join() {
        begin();
        run(Duration::seconds(9));
        REQUIRE(ends[1]->is_member());
    }
    void begin() {
        REQUIRE(ends[1]->enroll(now, "e.DIF", ends[0]->config().name));
        static_cast<void>(ends[1]->take_actions());
        ends[0]->flow_accepted(now, kFlow, "e.DIF");
        ends[1]->flow_up(now, kFlow, "e.DIF", ends[0]->config().name);
        exchange();
    }
    void exchange() {
        for (bool more = true; more;) {
            more = false;
            for (std::size_t i = 0; i < 2; ++i)
                for (IpcpAction& action : ends[i]->take_actions()) {
                    more = true;
                    act(i, action);
                }
        }
    }
    void act(std::size_t i, IpcpAction& action) {
        if (auto* s = std::get_if<SendToNeighbor>(&action)) {
            pass_on(i, s->pci, s->payload);
        } else if (auto* m = std::get_if<SendToMember>(&action)) {
            pass_on(i, m->pci, m->payload);
        } else if (auto* e = std::get_if<NeighborEvent>(&action)) {
            log[i].push_back(fmt::format("{} {} {}", e->up ? "up" : "down", e->neighbor, e->why));
        } else if (auto* p = std::get_if<PolicyEvent>(&action)) {
            policies[i].push_back(p->component + ": " + p->text);
        } else if (auto* a = std::get_if<AllocateLowerFlow>(&action)) {
            log[i].push_back("calls " + a->peer);
        } else if (auto* q = std::get_if<FlowRequested>(&action)) {
            asked.push_back(q->port);
            if (accepts) REQUIRE(ends[i]->accept_flow(now, q->port, 0));
        } else if (auto* f = std::get_if<FlowFailed>(&action)) {
            log[i].push_back("flow failed: " + f->text);
        } else if (std::holds_alternative<FlowAllocated>(action)) {
            log[i].push_back("flow allocated");
        } else if (std::holds_alternative<Unbind>(action)) {
            log[i].push_back("unbind");
        } else if (auto* r = std::get_if<PublishRoutes>(&action)) {
            published[i] = r->routes.size();
        }
    }
    void pass_on(std::size_t i, const rina::Pci& pci, const rina::Bytes& payload) {
        auto m = rina::decode_cdap(payload);
        REQUIRE(m);
        if (alter) alter(i, *m);
        if (cut) return;
        sent[i].push_back(*m);
        if (m->obj_class == "keepalive" && m->op == rina::OpCode::read) probes[i].push_back(now);
        ends[1 - i]->received(now, kFlow, pci, rina::encode(*m));
    }
    void run(Duration d) {
        const Instant until = now + d;
        exchange();
        for (;;) {
            const Instant next = earlier(ends[0]->next_deadline(), ends[1]->next_deadline());
            if (next > until) break;
            REQUIRE(++steps < 100'000);
            now = std::max(now, next);
            for (auto& end : ends)
                if (end->next_deadline() <= now) end->on_timeout(now);
            exchange();
        }
        now = until;
    }
    Result<> set(std::size_t i, std::string_view component, std::string_view name,
                 std::string_view value) {
        auto done = ends[i]->set_parameter(now, component, name, value);
        exchange();
        return done;
    }
    void write(std::size_t from, rina::RibName object, rina::ObjValue value) {
        rina::CdapMessage m;
        m.op = rina::OpCode::write;
        m.invoke_id = ++invoke_id;
        m.version = 1;
        m.obj_class = object.obj_class;
        m.obj_name = object.obj_name;
        m.value = std::move(value);
        rina::Pci pci;
        pci.type = static_cast<std::uint8_t>(rina::PduType::management);
        pci.source = ends[from]->address();
        ends[1 - from]->received(now, kFlow, pci, rina::encode(m));
        exchange();
    }

    Instant now{1'000'000'000};
    std::unique_ptr<Ipcp> ends[2];
    std::vector<std::string> log[2], policies[2];
    std::vector<rina::CdapMessage> sent[2];
    std::vector<Instant> probes[2];
    std::vector<PortId> asked;
    std::size_t published[2] = {0, 0};
    std::int32_t invoke_id = 900'000;
    unsigned steps = 0;
    bool cut = false;
    bool accepts = false;  // flows
    std::function<void(std::size_t, rina::CdapMessage&)> alter;
};

inline std::string value_of(const Ipcp& ipcp, std::string_view component, std::string_view name) {
    for (const policy::ParameterView& one : ipcp.parameters())
        if (one.component == component && one.name == name) return one.value;
    return "none";
}

}  // namespace sluice::mgmt
