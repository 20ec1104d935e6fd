// dynet.cc: DyNet as a contestant: training steps and chains of scalars. It runs on one thread, whatever it is asked.
#include "bench/contestant.h"

#include <dynet/dynet.h>
#include <dynet/expr.h>
#include <dynet/init.h>
#include <dynet/param-init.h>
#include <dynet/training.h>

#include <iostream>
#include <memory>
#include <vector>

using namespace dynet;

namespace {

struct Train {
	ParameterCollection model;
	std::vector<Parameter> w, b;
	std::vector<float> x;
	std::vector<unsigned> y;
	unsigned in, batch;
	char act;
	std::unique_ptr<MomentumSGDTrainer> trainer;

	explicit Train(const ask *a) : in(a->n[1]), batch(a->n[0]), act(a->word[0])
	{
		for (int l = 0; l + 2 < a->count; l++) {
			unsigned in = a->n[l + 1], out = a->n[l + 2];
			double bound = weight_bound(act, in);
			std::vector<float> by_column(in * out);

			for (unsigned o = 0; o < out; o++)
				for (unsigned i = 0; i < in; i++)
					by_column[i * out + o] = (float)(bound * datum(DATA_WEIGHTS + l, o * (int64_t)in + i));
			w.push_back(model.add_parameters({ out, in }));
			b.push_back(model.add_parameters({ out }, ParameterInitConst(0)));
			w.back().set_value(by_column);
		}
		x.resize(in * batch);
		fill(x.data(), in * batch, DATA_X, 1);
		for (unsigned i = 0; i < batch; i++) y.push_back(i % (unsigned)a->n[a->count - 1]);
		trainer.reset(new MomentumSGDTrainer(model, LEARNING_RATE, MOMENTUM));
		trainer->clipping_enabled = false;
		trainer->sparse_updates_enabled = false;
	}

	double step()
	{
		ComputationGraph cg;
		Expression z = input(cg, Dim({ in }, batch), x);

		for (size_t l = 0; l < w.size(); l++) {
			z = affine_transform({ parameter(cg, b[l]), parameter(cg, w[l]), z });
			if (l + 1 < w.size()) z = act == 'r' ? rectify(z) : act == 't' ? tanh(z) : logistic(z);
		}
		Expression loss = mean_batches(pickneglogsoftmax(z, y));
		double value = as_scalar(cg.forward(loss));

		cg.backward(loss);
		trainer->update();
		return value;
	}
};

void *train_begin(const ask *a)
{
	return a->count < 3 ? nullptr : new Train(a);
}

int train_check(void *state, double *values)
{
	for (int i = 0; i < CHECK_STEPS; i++) values[i] = static_cast<Train *>(state)->step();
	return CHECK_STEPS;
}

void train_run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) static_cast<Train *>(state)->step();
}

void train_end(void *state)
{
	delete static_cast<Train *>(state);
}

struct Chain {
	ParameterCollection model;
	Parameter x;
	int64_t nodes;
	bool scale;

	explicit Chain(const ask *a) : x(model.add_parameters({ 1 }, ParameterInitConst(1))), nodes(a->n[0]), scale(a->word[0] == 's')
	{
	}

	void once()
	{
		ComputationGraph cg;
		Expression p = parameter(cg, x), y = p;

		for (int64_t i = 0; i < nodes; i++) y = scale ? y * 1.0f : cmult(y, p);
		model.reset_gradient();
		cg.forward(y);
		cg.backward(y);
	}
};

void *chain_begin(const ask *a)
{
	return new Chain(a);
}

int chain_check(void *state, double *values)
{
	Chain *c = static_cast<Chain *>(state);

	c->once();
	values[0] = as_scalar(*c->x.gradients());
	return 1;
}

void chain_run(void *state, int64_t units)
{
	for (int64_t i = 0; i < units; i++) static_cast<Chain *>(state)->once();
}

void chain_end(void *state)
{
	delete static_cast<Chain *>(state);
}

} // namespace

int main(int argc, char **argv)
{
	const kind kinds[] = { { "train", train_begin, train_check, train_run, train_end },
			       { "chain", chain_begin, chain_check, chain_run, chain_end },
			       { nullptr, nullptr, nullptr, nullptr, nullptr } };
	DynetParams params;

	params.random_seed = 1;
	std::cerr.setstate(std::ios::failbit); // it tells every start
	initialize(params);
	std::cerr.clear();
	return serve(argc, argv, "DyNet " DYNET_VERSION, kinds);
}
