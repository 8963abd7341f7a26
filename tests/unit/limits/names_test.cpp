#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"
#include "normal_dif/core/sdu_protection/aes_gcm.hpp"
#include "rina/vmpi.hpp"
#include "shim_eth/core/shim_eth.hpp"
#include "shim_hv/core/faults.hpp"
#include "shim_hv/core/shim_hv.hpp"
#include "shim_udp/core/shim_udp.hpp"

// Reasons are counted and shown by name: two of one name, or one without, are a counter that
// nobody can read. A line that was forgotten in a table shows here.
namespace sluice {
namespace {

// Of the values from 0 on.
template <typename Reason>
std::set<std::string> names_of(std::size_t count) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < count; ++i)
        names.emplace(to_string(static_cast<Reason>(i)));
    names.erase("");
    names.erase("?");
    names.erase("unknown");
    return names;
}

TEST_CASE("Every reason has a name of its own", "[names]") {
    CHECK(names_of<mgmt::IpcpDrop>(mgmt::kIpcpDropCount).size() == mgmt::kIpcpDropCount);
    CHECK(names_of<mgmt::SessionError>(mgmt::kSessionErrorCount).size() ==
          mgmt::kSessionErrorCount);
    CHECK(names_of<mgmt::AuthError>(mgmt::kAuthErrorCount).size() == mgmt::kAuthErrorCount);
    CHECK(names_of<mgmt::FlowIgnored>(mgmt::kFlowIgnoredCount).size() == mgmt::kFlowIgnoredCount);
    CHECK(names_of<mgmt::Refusal>(mgmt::kRefusalCount).size() == mgmt::kRefusalCount);
    CHECK(names_of<mgmt::AdjacencyEnd>(9).size() == 9);
    CHECK(names_of<rina::Reason>(rina::kReasonCount).size() == rina::kReasonCount);
    CHECK(names_of<rina::OpCode>(rina::kOpCodeCount).size() == rina::kOpCodeCount);
    CHECK(names_of<rina::vmpi::ParseError>(rina::vmpi::kParseErrorCount).size() ==
          rina::vmpi::kParseErrorCount);
    CHECK(names_of<shim_eth::Drop>(shim_eth::kDropCount).size() == shim_eth::kDropCount);
    CHECK(names_of<shim_udp::Drop>(shim_udp::kDropCount).size() == shim_udp::kDropCount);
    CHECK(names_of<shim_hv::VmpiDrop>(shim_hv::kVmpiDropCount).size() == shim_hv::kVmpiDropCount);
}

TEST_CASE("Every state and kind has a name of its own", "[names]") {
    CHECK(names_of<mgmt::FlowState>(5).size() == 5);
    CHECK(names_of<mgmt::AddressPolicy>(2).size() == 2);
    CHECK(names_of<sdup::Cipher>(2).size() == 2);
    CHECK(names_of<shim_hv::DeviceState>(4).size() == 4);
    CHECK(names_of<shim_hv::FlowState>(4).size() == 4);
    CHECK(names_of<rina::vmpi::Type>(rina::vmpi::kTypeCount).size() == rina::vmpi::kTypeCount);
    CHECK(names_of<rina::vmpi::IratiCommand>(rina::vmpi::kIratiCommandCount).size() ==
          rina::vmpi::kIratiCommandCount);
}

// The simulations are told by name which one to make.
TEST_CASE("Every deliberate fault has a name of its own", "[names]") {
    CHECK(names_of<faults::Fault>(faults::kFaultCount).size() == faults::kFaultCount);
    CHECK(names_of<shim_hv::Fault>(shim_hv::kFaultCount).size() == shim_hv::kFaultCount);
}

TEST_CASE("Numbers from the wire that nobody knows have a name too", "[names]") {
    CHECK(to_string(static_cast<rina::OpCode>(99)) == "M_?");
    CHECK_FALSE(to_string(static_cast<rina::vmpi::Type>(99)).empty());
    CHECK_FALSE(to_string(static_cast<rina::vmpi::IratiCommand>(99)).empty());
    CHECK(rina::reason_from_wire(99, rina::Reason::refused) == rina::Reason::refused);
    CHECK(rina::reason_from_wire(6, rina::Reason::refused) == rina::Reason::timed_out);
}

}  // namespace
}  // namespace sluice
