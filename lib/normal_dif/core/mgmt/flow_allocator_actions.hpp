#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/action_list.hpp"
#include "base/types.hpp"
#include "normal_dif/core/mgmt/flow_policies.hpp"
#include "rina/cdap.hpp"
#include "rina/names.hpp"
#include "rina/pci.hpp"

// What the flow allocator wants done, in the order in which it must take effect: a connection is
// bound before the message has left that lets the peer use it.
namespace sluice::mgmt {

// A CDAP message to a member of the DIF, by way of A_DATA.
struct SendFlowMessage {
    rina::Address to{};
    rina::CdapMessage message;
};

// To the data transfer.
struct Bind {
    PortId port{};
    rina::CepId cep{};
    // Not known until the peer answers. What arrives before SetPeer has overtaken the answer: it is
    // held or dropped, but not interpreted, for the terms may still change.
    std::optional<rina::CepId> peer_cep;
    rina::Address peer{};
    rina::QosId qos{};
    FlowTerms terms;
};
struct SetPeer {
    PortId port{};
    rina::CepId cep{};
    // Where the answer came from: it may have moved since it was asked.
    rina::Address peer{};
    rina::CepId peer_cep{};
    rina::QosId qos{};
    FlowTerms terms;
};
// The user is gone: nothing is delivered any more, what it has written still is sent.
struct Drain {
    PortId port{};
    rina::CepId cep{};
};
// The peer is gone: the user reads what is there, then the end; it cannot write.
struct Shut {
    PortId port{};
    rina::CepId cep{};
};
struct Unbind {
    PortId port{};
    rina::CepId cep{};
};

// To the users. A port-id names one flow until FlowFailed, or until its user deallocates it.
struct FlowRequested {  // answer with accept() or refuse()
    PortId port{};
    rina::AppName local;
    rina::AppName remote;
    FlowSpec spec;
    rina::Address peer{};
};
struct FlowAllocated {
    PortId port{};
    std::uint32_t cookie = 0;
    FlowTerms terms;
};
struct FlowFailed {  // an allocation ended without a flow, or a request was withdrawn
    PortId port{};
    std::uint32_t cookie = 0;
    rina::Reason reason = rina::Reason::ok;
    std::string text;  // the peer's, for people
};
struct FlowDeallocated {  // by the peer or without it; the user has yet to deallocate
    PortId port{};
    std::uint32_t cookie = 0;
    rina::Reason reason = rina::Reason::ok;
};

using FlowAction = std::variant<SendFlowMessage, Bind, SetPeer, Drain, Shut, Unbind, FlowRequested,
                                FlowAllocated, FlowFailed, FlowDeallocated>;

// A message of a peer adds at most a handful; on_member_gone(), on_unregister() and on_timeout() as
// many for each flow that they end.
using FlowOutbox = ActionList<FlowAction>;

}  // namespace sluice::mgmt
