#pragma once

#include <string>

#include "base/result.hpp"
#include "dataplane/port.hpp"

namespace sluice::app {

// The unix socket in the arguments of a net_vhost (iface=) or virtio-user (path=) device; "" if
// there is none.
std::string vhost_socket_of(const dp::PortOptions& options);
// Whether this process makes that socket.
bool serves_vhost_socket(const dp::PortOptions& options);
// A virtio-user device that is the client of its socket: when its server goes, it has to be plugged
// in again.
bool connects_once(const dp::PortOptions& options);

// Says in one line what a driver would say in none: that the folder is missing, or that somebody
// else serves this socket. Removes one that a killed process left behind.
Result<> prepare_vhost_socket(const dp::PortOptions& options);

}  // namespace sluice::app
