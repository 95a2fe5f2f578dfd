"""Methods compared under one protocol: the same splits, validation for every choice, test scored once.

Nothing is imported here: the command line names methods without torch and Ray.

    plan = make_plan(["wdbc", "car"], ["pare", "finetune", "xgboost"], folder=Path("runs/compare"), budget=20)
    comparison = summarise(plan, run_plan(plan))
    write_files(comparison, plan.folder)
"""
