"""Child processes that are always ended again, by their pid, and the terminal they talk on."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time


class BenchError(Exception):
    """Something that the operator should read; no trace is printed."""


class Child:
    """A process whose output goes to a log file."""

    def __init__(self, name, command, log_path, **popen):
        self.name = name
        self.log_path = log_path
        with open(log_path, 'wb') as log:
            popen.setdefault('stdout', log)
            popen.setdefault('stderr', log)
            popen.setdefault('stdin', subprocess.DEVNULL)
            try:
                self.process = subprocess.Popen(command, **popen)
            except OSError as error:
                raise BenchError(f'cannot start {command[0]}: {error.strerror}') from error
        self.pid = self.process.pid

    def log(self):
        with open(self.log_path, errors='replace') as log:
            return log.read()

    def fail(self, what):
        tail = '\n  '.join(self.log().splitlines()[-15:])
        raise BenchError(f'{self.name}: {what}; its threads: {threads(self.pid)}; the end of its '
                         f'output was:\n  {tail}')

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            self.fail(f'ended by itself with status {code}')

    def wait_log(self, text, timeout_s):
        deadline = time.monotonic() + timeout_s
        while text not in self.log():
            self.check_alive()
            if time.monotonic() > deadline:
                self.fail(f'did not say "{text}" within {timeout_s} s')
            time.sleep(0.02)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode


class Terminal(Child):
    """A process with a prompt. Its standard streams are a terminal, so output is not held back."""

    def __init__(self, name, command, log_path, prompt):
        self.prompt = prompt
        self.master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        fcntl.fcntl(self.master, fcntl.F_SETFL, os.O_NONBLOCK)
        try:
            super().__init__(name, command, log_path, stdin=slave, stdout=slave)
        finally:
            os.close(slave)

    def _read(self, timeout_s):
        readable, _, _ = select.select([self.master], [], [], timeout_s)
        if not readable:
            return ''
        try:
            piece = os.read(self.master, 65536)
        except OSError:  # EIO: the other side is gone
            self.process.wait(5)
            self.check_alive()
            raise
        with open(self.log_path, 'ab') as log:
            log.write(piece)
        return piece.decode(errors='replace')

    def read_prompt(self, timeout_s=10.0):
        """What was printed up to the next prompt."""
        now = time.monotonic()
        deadline, nudge = now + timeout_s, now + 3.0
        text = ''
        while self.prompt not in text:  # events may be printed behind it at any time
            text += self._read(0.2)
            self.check_alive()
            now = time.monotonic()
            if now > deadline:
                self.fail(f'no prompt within {timeout_s} s')
            if now > nudge:
                # An event printed into the middle of the prompt hides it; ask for a new one.
                os.write(self.master, b'\n')
                nudge = now + 3.0
        return text

    def ask(self, line, timeout_s=10.0):
        while self._read(0.0):
            pass
        os.write(self.master, line.encode() + b'\n')
        return self.read_prompt(timeout_s)

    def end(self):
        code = super().end()
        if self.master is not None:
            os.close(self.master)
            self.master = None
        return code


def cpu_seconds(pid):
    """CPU time of each thread of a process: {tid: (name, seconds)}."""
    tick = os.sysconf('SC_CLK_TCK')
    result = {}
    for tid in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{tid}/stat') as stat:
            text = stat.read()
        name = text[text.index('(') + 1:text.rindex(')')]
        fields = text[text.rindex(')') + 2:].split()
        result[int(tid)] = (name, (int(fields[11]) + int(fields[12])) / tick)
    return result


def threads(pid):
    """Name, state and place in the kernel of each thread, to tell a loop from a long sleep."""
    result = []
    try:
        for tid in sorted(os.listdir(f'/proc/{pid}/task'), key=int):
            with open(f'/proc/{pid}/task/{tid}/stat') as stat:
                text = stat.read()
            with open(f'/proc/{pid}/task/{tid}/wchan') as wchan:
                where = wchan.read()
            name = text[text.index('(') + 1:text.rindex(')')]
            result.append(f'{name} {text[text.rindex(")") + 2]} {where}')
    except OSError:
        return 'gone'
    return ', '.join(result)
