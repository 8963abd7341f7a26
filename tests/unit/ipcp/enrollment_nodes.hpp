#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <string>
#include <vector>

#include "normal_dif/core/ipcp/enrollment.hpp"

// Two ends of an enrollment, joined by a wire that keeps what is on it in order.
namespace sluice::mgmt {

using rina::Address;
using rina::CdapMessage;
using rina::OpCode;
using rmt::N1PortId;

inline constexpr N1PortId kPort{0};

inline rina::AppName name(const char* text) {
    rina::AppName n;
    n.process = text;
    return n;
}

// One end; what it sends waits in `wire`.
struct Node final : EnrollmentHost {
    Node(const char* own, bool is_one, Authenticator auth = {})
        : member(is_one), machine({name(own), "e.DIF", true, {}, std::move(auth)}, *this) {}
    Address address() const override { return own_address; }
    bool is_member() const override { return member; }
    std::vector<std::string> lower_difs() const override { return {"e.DIF"}; }
    rina::DataTransferConstants constants() const override { return rina::rlite_constants(); }
    Result<> check_constants(const rina::DataTransferConstants& c) const override {
        if (c.sequence_width != 4) return fail(EPROTO, "sequence numbers of {}", c.sequence_width);
        return {};
    }
    Result<> admit(const std::string& peer, bool) const override {
        if (peer == banned) return fail(EACCES, "{} is not wanted", peer);
        return {};
    }
    std::vector<Setting> settings() const override { return told; }
    void choose_address(Instant now, N1PortId port, const std::string&) override {
        ++choices;
        if (chooses_at_once) machine.address_chosen(now, port, chosen);
    }
    void joined(Instant, Address given, const rina::DataTransferConstants&) override {
        member = true;
        if (given != Address{}) own_address = given;
    }
    void adjacency_up(Instant, N1PortId, const std::string& peer, bool initiator) override {
        log.push_back("up " + peer + (initiator ? " as initiator" : ""));
    }
    void adjacency_down(Instant, N1PortId, const std::string& peer, AdjacencyEnd why, bool was_up,
                        const std::string& detail) override {
        log.push_back(std::string(was_up ? "down " : "failed ") + peer + ": " + to_string(why) +
                      (detail.empty() ? "" : ", " + detail));
    }
    void object_message(Instant, N1PortId, const std::string& peer,
                        const CdapMessage& m) override {
        log.push_back("object " + m.obj_class + " from " + peer);
    }
    void send(N1PortId, Address source, const CdapMessage& m) override {
        // Over the wire and back, so that nothing is there that would not arrive.
        const rina::Bytes bytes = rina::encode(m);
        auto decoded = rina::decode_cdap(bytes);
        REQUIRE(decoded);
        REQUIRE(*decoded == m);
        REQUIRE(rina::check(m));
        wire.push_back({source, m});
        sent.push_back(m);
    }
    void release_flow(N1PortId) override { released = true; }

    struct Sent {
        Address source;
        CdapMessage message;
    };
    bool member;
    std::vector<Setting> told{{"policy", "/mgmt/dft/policy", "fully-replicated"}};
    Address own_address{1};
    std::string banned;
    bool chooses_at_once = true;
    Address chosen{7};
    int choices = 0;
    bool released = false;
    std::vector<std::string> log;
    std::deque<Sent> wire;
    std::vector<CdapMessage> sent;
    Enrollment machine;
};

// Everything that is on its way, until nothing is.
inline void exchange(Instant now, Node& a, Node& b) {
    for (int i = 0; i < 1000 && (!a.wire.empty() || !b.wire.empty()); ++i) {
        if (!a.wire.empty()) {
            const CdapMessage m = a.wire.front().message;
            a.wire.pop_front();
            b.machine.received(now, kPort, m);
        }
        if (!b.wire.empty()) {
            const CdapMessage m = b.wire.front().message;
            b.wire.pop_front();
            a.machine.received(now, kPort, m);
        }
    }
}

inline std::vector<OpCode> ops(const Node& n) {
    std::vector<OpCode> out;
    for (const CdapMessage& m : n.sent) out.push_back(m.op);
    return out;
}

struct Pair {
    Node a{"a.IPCP", true};
    Node b{"b.IPCP", false};
    Instant now{1'000'000'000};

    void join(const char* whom = "a.IPCP") {
        a.machine.flow_accepted(now, kPort);
        b.machine.flow_up(now, kPort, whom);
        exchange(now, a, b);
    }
    // To the next deadline of either, at least this long.
    void pass(Duration d) {
        const Instant until = now + d;
        for (;;) {
            const Instant next = std::min(a.machine.next_deadline(), b.machine.next_deadline());
            if (next > until) break;
            now = std::max(now, next);
            a.machine.on_timeout(now);
            b.machine.on_timeout(now);
            exchange(now, a, b);
        }
        now = until;
    }
};

}  // namespace sluice::mgmt
