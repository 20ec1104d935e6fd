#!@WEIR_PYTHON@
"""PyTorch as a contestant; the protocol stands in bench/contestant.h. Under the name PyTorch-flush it flushes subnormal numbers
to zero, as Weir does, and plays where that matters: in the sigmoid network."""
import math
import os
import sys
import time

import torch
import torch.nn.functional as F

DATA_X, DATA_A, DATA_B, DATA_GRAD, DATA_WEIGHTS, DATA_VECTOR, DATA_TENSOR_GRAD = 1, 2, 3, 4, 100, 20000, 40000
SAMPLES, CHECK_STEPS = 8, 2
LEARNING_RATE, MOMENTUM, ADAM_RATE, ADAM_DECAY = 0.01, 0.9, 0.001, 0.01
FLUSH = os.path.basename(sys.argv[0]) == "PyTorch-flush"


def data(stream, shape, scale=1.0):
    low = 2**32 - 1
    x = (torch.arange(math.prod(shape)) * 2654435769 + stream * 2246822519) & low
    x = ((x ^ (x >> 15)) * 2146121005) & low
    x = ((x ^ (x >> 12)) * 2221713035) & low
    x ^= x >> 15
    return (scale * ((x >> 8).double() / 8388608 - 1)).float().reshape(shape)


def samples(t):
    flat, n = t.detach().reshape(-1), t.numel()
    return [flat[(n - 1) * i // (SAMPLES - 1)].item() for i in range(SAMPLES)]


class Gemm:
    def __init__(self, word, n):
        m, k, n = n
        self.a = data(DATA_A, (k, m)).t() if word == "tn" else data(DATA_A, (m, k))
        self.b = data(DATA_B, (n, k)).t() if word == "nt" else data(DATA_B, (k, n))
        self.c = torch.empty(m, n)

    def unit(self):
        torch.mm(self.a, self.b, out=self.c)

    def check(self):
        self.unit()
        return samples(self.c)


def mlp(word, n):
    """The network, its input and labels."""
    batch, widths = n[0], n[1:]
    gain = {"r": 6.0, "t": 3.0, "s": 1.0}[word[0]]
    act = {"r": torch.nn.ReLU, "t": torch.nn.Tanh, "s": torch.nn.Sigmoid}[word[0]]
    layers = []
    for i in range(len(widths) - 1):
        layer = torch.nn.Linear(widths[i], widths[i + 1])
        with torch.no_grad():
            layer.weight.copy_(data(DATA_WEIGHTS + i, (widths[i + 1], widths[i]), (gain / widths[i]) ** 0.5))
            layer.bias.zero_()
        layers += [layer, act()]
    return torch.nn.Sequential(*layers[:-1]), data(DATA_X, (batch, widths[0])), torch.arange(batch) % widths[-1]


class Train:
    def __init__(self, word, n):
        self.net, self.x, self.y = mlp(word, n)
        self.loss = torch.nn.CrossEntropyLoss()
        self.optim = torch.optim.SGD(self.net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def forward(self):
        return self.loss(self.net(self.x), self.y)

    def unit(self):
        self.optim.zero_grad(set_to_none=True)
        loss = self.forward()
        loss.backward()
        self.optim.step()
        return loss.item()

    def check(self):
        return [self.unit() for _ in range(CHECK_STEPS)]


class Norms(Train):
    """A hook on every tensor of the graph that can have one."""

    def __init__(self, word, n):
        super().__init__(word, n)
        self.log, self.param_log = [], []
        for p in self.net.parameters():
            p.register_hook(lambda g: self.param_log.append(torch.linalg.vector_norm(g).item()))

    def forward(self):
        log = lambda g: self.log.append(torch.linalg.vector_norm(g).item())
        self.log.clear()
        self.param_log.clear()
        x = self.x
        for layer in self.net:
            x = layer(x)
            x.register_hook(log)
        x = self.loss(x, self.y)
        x.register_hook(log)
        return x

    def check(self):
        return super().check() + [sum(self.param_log)]


class Hvp:
    def __init__(self, word, n):
        self.net, self.x, self.y = mlp("tanh", n)
        self.params = list(self.net.parameters())
        self.v = [data(DATA_VECTOR + i, tuple(p.shape)) for i, p in enumerate(self.params)]
        self.reused = word == "reused"
        self.record()

    def record(self):
        loss = F.cross_entropy(self.net(self.x), self.y)
        self.g = torch.autograd.grad(loss, self.params, create_graph=True)

    def unit(self):
        if not self.reused:
            self.record()
        return torch.autograd.grad(self.g, self.params, self.v, retain_graph=self.reused)

    def check(self):
        return samples(self.unit()[0])


class AdamW:
    def __init__(self, word, n):
        self.params = [torch.nn.Parameter(data(DATA_WEIGHTS + i, (n[1],))) for i in range(n[0])]
        for i, p in enumerate(self.params):
            p.grad = data(DATA_TENSOR_GRAD + i, (n[1],))
        self.optim = torch.optim.AdamW(self.params, lr=ADAM_RATE, weight_decay=ADAM_DECAY)
        self.steps = 0

    def unit(self):
        self.steps += 1
        torch.nn.utils.clip_grad_norm_(self.params, 1000.0 / self.steps)
        self.optim.step()

    def check(self):
        for _ in range(CHECK_STEPS):
            self.unit()
        return samples(self.params[0])


class Chain:
    def __init__(self, word, n):
        self.nodes, self.scale = n[0], word == "scale"
        self.x = torch.nn.Parameter(torch.tensor(1.0))

    def unit(self):
        x = y = self.x
        if self.scale:
            for _ in range(self.nodes):
                y = y * 1.0
        else:
            for _ in range(self.nodes):
                y = y * x
        x.grad = None
        y.backward()

    def check(self):
        self.unit()
        return [self.x.grad.item()]


class Map:
    """Into memory that is there already, where the function can: fresh memory costs page faults."""

    def __init__(self, word, n):
        x = data(DATA_X, (n[0] // 1024, 1024), 4.0)
        y = torch.empty_like(x)
        weight, bias = torch.ones(1024), torch.zeros(1024)
        if word == "layernorm-back":
            x.requires_grad_(True)
            weight.requires_grad_(True)
            bias.requires_grad_(True)
            out = F.layer_norm(x, (1024,), weight, bias)
            gy = data(DATA_GRAD, tuple(x.shape))
            self.f = lambda: torch.autograd.grad(out, (x, weight, bias), gy, retain_graph=True)[0]
            return
        self.f = {
            "relu": lambda: torch.clamp_min(x, 0, out=y),
            "sigmoid": lambda: torch.sigmoid(x, out=y),
            "tanh": lambda: torch.tanh(x, out=y),
            "exp": lambda: torch.exp(x, out=y),
            "gelu": lambda: torch._C._nn.gelu(x, out=y),
            "softmax": lambda: torch._softmax(x, -1, False, out=y),
            "layernorm": lambda: F.layer_norm(x, (1024,), weight, bias),
        }[word]

    def unit(self):
        return self.f()

    def check(self):
        return samples(self.f())


KINDS = {"gemm": Gemm, "train": Train, "norms": Norms, "hvp": Hvp, "adamw": AdamW, "chain": Chain, "map": Map}


def begin(words):
    numbers = []
    for w in words[2:]:
        n, _, times = w.partition("x")
        numbers += [int(n)] * int(times or 1)
    if FLUSH and words[:2] != ["train", "sigmoid"]:
        return None
    return KINDS[words[0]](words[1], numbers)


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    torch.set_flush_denormal(FLUSH)
    version = ".".join(torch.__version__.split(".")[:2])  # Debian's 1.13.1 calls itself 1.13.0a0
    print("PyTorch " + version + " (Debian)" * ("dist-packages" in torch.__file__) + ", flushing" * FLUSH, flush=True)
    slots = {}
    for line in sys.stdin:
        words = line.split()
        slot = words[1]
        if words[0] == "begin":
            slots[slot] = None
            slots[slot] = begin(words[2:])
            answer = "ready" if slots[slot] else "no"
        elif words[0] == "check":
            answer = " ".join("%.9g" % v for v in slots[slot].check())
        elif words[0] == "run":
            unit, n = slots[slot].unit, int(words[2])
            start = time.perf_counter()
            for _ in range(n):
                unit()
            answer = "%.9g" % (time.perf_counter() - start)
        else:
            slots[slot] = None
            answer = "ended"
        print(answer, flush=True)


main()
